// Every text that can be seen, and every shape of a drawing, with its contrast (WCAG 2) to what is behind it.
// Behind a text in a drawing is the last shape drawn before it that covers its middle.
const channels = (colour) => {
  const parts = (colour.match(/[\d.]+/g) ?? []).map(Number);
  return parts.length < 3 ? [0, 0, 0, 0] : [parts[0], parts[1], parts[2], parts[3] ?? 1];
};
const over = (front, back) => {
  const share = front[3];
  return [0, 1, 2].map((at) => front[at] * share + back[at] * (1 - share)).concat(1);
};
const luminance = (colour) => {
  const [red, green, blue] = colour.slice(0, 3).map((channel) => {
    const part = channel / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const contrast = (first, second) => {
  const [bright, dark] = [luminance(first), luminance(second)].sort((a, b) => b - a);
  return (bright + 0.05) / (dark + 0.05);
};
const behind = (element) => {
  const layers = [];
  for (let at = element; at !== null; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
  return layers.reduceRight((back, front) => over(front, back), [255, 255, 255, 1]);
};
const isSeen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
const filled = (shape) => {
  const style = getComputedStyle(shape);
  const colour = style.fill === "none" ? [0, 0, 0, 0] : channels(style.fill);
  return [...colour.slice(0, 3), colour[3] * Number(style.fillOpacity) * Number(style.opacity)];
};
const found = [];
const note = (kind, element, words, front, back) =>
  found.push({ kind, words, contrast: contrast(over(front, back), back), colour: front.join(), behind: back.join(),
               place: `${element.tagName}.${element.getAttribute("class") ?? ""}` });

const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
  const element = node.parentElement;
  const words = node.data.trim();
  if (words === "" || element.closest("script, style, svg") !== null || !isSeen(element)) continue;
  if (element.closest(".skip, .unseen") !== null) continue; // seen by those who listen
  note("text", element, words, channels(getComputedStyle(element).color), behind(element));
}
for (const drawing of document.querySelectorAll("svg.plot")) {
  if (!isSeen(drawing)) continue;
  const ground = behind(drawing.parentElement);
  const shapes = [];
  for (const shape of drawing.querySelectorAll("path, rect, text, use")) {
    if (shape.closest("defs, clipPath") !== null) continue;
    const box = shape.getBBox();
    if (shape.tagName === "text") {
      const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
      const back = shapes.filter((one) => one.x <= x && x <= one.x + one.width && one.y <= y && y <= one.y + one.height)
        .reduce((below, one) => over(one.colour, below), ground);
      note("text", shape, shape.textContent, filled(shape), back);
    } else {
      const colour = filled(shape);
      const { x, y, width, height } = box;
      if (colour[3] > 0 && shape.tagName !== "use") shapes.push({ x, y, width, height, colour });
      const role = (shape.getAttribute("class") ?? "").match(/\b[fs]-([a-z]+)\b/g) ?? [];
      const series = role.filter((name) => /-(parse|map|blocked|idle|extra|ink)$/.test(name));
      if (colour[3] < 1 && colour[3] > 0) continue; // a shade below a line that says the same
      for (const name of series) {
        const line = name.startsWith("s-") ? channels(getComputedStyle(shape).stroke) : colour;
        note("shape", shape, name, line, ground);
      }
    }
  }
}
return found;
