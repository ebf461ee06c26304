"""How one column's text becomes a value: its conversion, and which options make sense for it."""

from __future__ import annotations

import codecs
import importlib
import re
from dataclasses import replace
from typing import Final

from xml_extractor.contract.drafts import ColumnDraft, Origin, suggest
from xml_extractor.contract.formats import format_problem
from xml_extractor.contract.literals import parse_literal
from xml_extractor.contract.model import ContractModel, PluginStep, ReplaceStep
from xml_extractor.contract.plan import Apply, Conversion, EnumMap, OnError, Rounding
from xml_extractor.contract.protections import protection_of
from xml_extractor.contract.reader import Location, Report
from xml_extractor.contract.structure import Structure
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.mapping.conversion import constant_value

_RAW_TEXT: Final = frozenset(
    {
        "type",
        "required",
        "default",
        "default_makes_row",
        "enum",
        "apply",
        "format",
        "empty",
        "on_invalid",
        "on_overflow",
        "rounding",
        "zone",
        "default_zone",
        "binary",
    }
)
_PRIVATE: Final = frozenset({"mask", "hash", "drop"})
_ORIGIN_WORDS: Final = frozenset({"description", "from_", "expr", "value", "xml", "server_generated", "type"})
_OPTIONS: Final[dict[Origin, frozenset[str]]] = {
    Origin.PATHS: _RAW_TEXT | _PRIVATE | {"pick", "separator", "skip_blank"},
    Origin.KEY: _RAW_TEXT | _PRIVATE,
    Origin.SOURCE_COLUMN: _RAW_TEXT | _PRIVATE,
    Origin.ITEM_NAME: _RAW_TEXT,
    Origin.ITEM_VALUE: _RAW_TEXT | _PRIVATE,
    Origin.DOCUMENT: _PRIVATE - {"mask"} | {"required", "on_overflow"},
    Origin.XML: _PRIVATE - {"mask"} | {"required", "default", "default_makes_row", "on_overflow", "pick"},
    Origin.PARENT: frozenset({"required"}),
    Origin.POSITION: frozenset({"required"}),
    Origin.PARENT_POSITION: frozenset({"required", "default", "default_makes_row"}),
    Origin.EXPRESSION: _PRIVATE
    | {"required", "default", "default_makes_row", "on_invalid", "on_overflow", "empty"},
    Origin.CONSTANT: frozenset({"required", "format", "binary", "rounding", "zone", "default_zone"}),
    Origin.SERVER: frozenset({"required"}),
}
_TEMPORAL: Final = frozenset({Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET})
_FAMILIES: Final[dict[str, tuple[frozenset[Family], str]]] = {
    "format": (_TEMPORAL, "dates and times"),
    "zone": (_TEMPORAL - {Family.DATETIMEOFFSET}, "date, time and datetime types, which have no zone"),
    "default_zone": (frozenset({Family.DATETIMEOFFSET}), "datetimeoffset"),
    "rounding": (frozenset({Family.DECIMAL, Family.INTEGER}), "decimal, money and integer types"),
    "binary": (frozenset({Family.BINARY}), "binary and varbinary"),
    "empty": (frozenset({Family.TEXT, Family.XML}), "text types"),
}
_ROUNDING_OF_TIMES: Final = _TEMPORAL - {Family.DATE}


class Conversions:
    """Compiles the conversions of one contract's columns, telling what does not make sense."""

    def __init__(self, structure: Structure, report: Report) -> None:
        self._structure = structure
        self._model: ContractModel = structure.model
        self._report = report
        self._enums = self._compile_enums()
        self.code_page = self._checked_code_page()
        self.used_enums: set[str] = set()
        self.used_replacements: set[str] = set()
        self._plugins: dict[str, str | None] = {}

    def _checked_code_page(self) -> str:
        name = self._model.code_page
        try:
            codec = codecs.lookup(name)
            "a".encode(name)
        except LookupError:
            message = f"unknown code page {name!r}; write one that Python knows, such as cp1252 or utf-8"
            self._report.mistake(("code_page",), message)
            return "cp1252"
        return codec.name

    def _compile_enums(self) -> dict[str, EnumMap]:
        enums = {}
        for name, model in self._model.enums.items():
            location: Location = ("enums", name)
            if model.missing == "reject":
                self._report.mistake(
                    (*location, "missing"),
                    "missing is a value or null; to refuse a missing code, the column says `required: true`",
                )
            if model.ignore_case:
                self._tell_equal_codes(list(model.values), location)
            enums[name] = EnumMap(
                name=name,
                values=tuple(model.values.items()),
                ignore_case=model.ignore_case,
                missing=None if model.missing == "reject" else model.missing,
                unknown_rejects=model.unknown == "reject",
                unknown=None if model.unknown == "reject" else model.unknown,
            )
        return enums

    def _tell_equal_codes(self, codes: list[str], location: Location) -> None:
        seen: dict[str, str] = {}
        for code in codes:
            first = seen.setdefault(code.casefold(), code)
            if first != code:
                self._report.mistake(
                    (*location, "values", code),
                    f"code {code!r} is the same as {first!r} when case is ignored",
                    at_key=True,
                )

    # ------------------------------------------------------------------ one column

    def compile(self, column: ColumnDraft) -> Conversion | None:
        """Return the column's conversion, or None if its type is not known."""
        self._check_options(column)
        model = column.model
        enum = self._enum(column)
        apply = self._apply(column)
        protection = protection_of(column, self._report)
        if column.type is None:
            return None
        if model.drop:
            return Conversion(type=column.type, code_page=self.code_page)
        conversion = Conversion(
            type=column.type,
            apply=apply,
            enum=enum,
            formats=model.format or (),
            binary_format=model.binary,
            rounding=Rounding(model.rounding),
            zone=model.zone,
            default_zone=model.default_zone,
            code_page=self.code_page,
            empty_is_null=model.empty == "null",
            on_invalid=OnError(model.on_invalid),
            on_overflow=OnError(model.on_overflow),
            protection=protection,
        )
        self._check_formats(column, column.type)
        self._check_constants(column, conversion)
        return conversion

    def _check_options(self, column: ColumnDraft) -> None:
        model = column.model
        allowed = _OPTIONS[column.origin]
        given = [name for name in type(model).model_fields if name in model.model_fields_set]
        for option in given:
            at = (*column.location, option)
            if option in _ORIGIN_WORDS:
                continue
            if option not in allowed:
                self._report.mistake(
                    at, f"{option!r} means nothing for a column from {column.origin.value}", at_key=True
                )
            elif option in _FAMILIES and column.type is not None:
                families, words = _FAMILIES[option]
                if option == "rounding" and column.type.family in _ROUNDING_OF_TIMES:
                    continue
                if column.type.family not in families:
                    self._report.mistake(at, f"{option!r} is for {words}, not for {column.type}", at_key=True)
        if model.on_overflow == "truncate" and column.type is not None:
            if column.type.family not in (Family.TEXT, Family.BINARY):
                self._report.mistake(
                    (*column.location, "on_overflow"),
                    f"only text and binary can be truncated, not {column.type}",
                )
            elif column.origin is Origin.EXPRESSION:
                self._report.mistake(
                    (*column.location, "on_overflow"),
                    "an expression's value is not truncated; use LEFT(…, n) in it",
                )
        damaged = self._structure.is_damaged
        if "separator" in model.model_fields_set and model.pick != "join" and column.origin is Origin.PATHS:
            self._report.mistake(
                (*column.location, "separator"), "a separator needs `pick: join`", at_key=True
            )
        lacks_pick = model.pick is None and not damaged((*column.location, "pick"))
        if model.skip_blank and lacks_pick and column.origin is Origin.PATHS:
            self._report.mistake((*column.location, "skip_blank"), "skip_blank needs a `pick`", at_key=True)
        if model.default_makes_row and model.default is None and not damaged((*column.location, "default")):
            self._report.mistake(
                (*column.location, "default_makes_row"), "there is no `default`", at_key=True
            )

    def _enum(self, column: ColumnDraft) -> EnumMap | None:
        name = column.model.enum
        if name is None:
            return None
        self.used_enums.add(name)
        if name not in self._enums:
            if not self._structure.is_damaged(("enums", name)):
                known = suggest(name, self._enums)
                self._report.mistake((*column.location, "enum"), f"enum {name!r} is not defined{known}")
            return None
        return self._enums[name]

    def _apply(self, column: ColumnDraft) -> tuple[Apply, ...]:
        steps = []
        for position, step in enumerate(column.model.apply):
            at = (*column.location, "apply", position)
            if isinstance(step, ReplaceStep):
                table = self._model.replacements.get(step.replace)
                self.used_replacements.add(step.replace)
                if table is None:
                    if not self._structure.is_damaged(("replacements", step.replace)):
                        known = suggest(step.replace, self._model.replacements)
                        self._report.mistake(at, f"replacement table {step.replace!r} is not defined{known}")
                    continue
                steps.append(Apply("replace", pairs=tuple(table.items())))
            elif isinstance(step, PluginStep):
                problem = self._plugin_problem(step.plugin)
                if problem is not None:
                    self._report.mistake(at, problem)
                steps.append(Apply("plugin", target=step.plugin))
            else:
                steps.append(Apply(step))
        return tuple(steps)

    def _plugin_problem(self, target: str) -> str | None:
        """Import the function, as every worker will."""
        if target not in self._plugins:
            module_name, _, attribute = target.partition(":")
            try:
                function = importlib.import_module(module_name)
                for name in attribute.split("."):
                    function = getattr(function, name)
            except Exception as error:  # noqa: BLE001  # whatever the user's module raises is his to see
                self._plugins[target] = (
                    f"plug-in {target!r} cannot be imported ({type(error).__name__}: {error}); "
                    "it must be installed, or on PYTHONPATH"
                )
            else:
                self._plugins[target] = (
                    None if callable(function) else f"plug-in {target!r} is not a function"
                )
        return self._plugins[target]

    # ------------------------------------------------------------------ constants

    def _check_constants(self, column: ColumnDraft, conversion: Conversion) -> None:
        """Tell constants that cannot become a value of the column's type."""
        model, sql_type = column.model, conversion.type
        if column.origin is Origin.CONSTANT and model.value is not None:
            self._check_constant(model.value, conversion, (*column.location, "value"))
        if model.default is not None:
            self._check_constant(model.default, conversion, (*column.location, "default"))
        enum = conversion.enum
        lenient = conversion.on_invalid is not OnError.REJECT or conversion.on_overflow is not OnError.REJECT
        if enum is not None:
            texts = {text for _, text in enum.values} | {enum.missing, enum.unknown}
            for text in sorted(text for text in texts if text is not None):
                # A policy that forgives what a document holds forgives what stands for it.
                problem = conversion_problem(text, conversion) if lenient else self._problem(text, conversion)
                if problem:
                    self._report.mistake(
                        (*column.location, "enum"), f"enum {enum.name!r} does not fit {sql_type}: {problem}"
                    )

    def _check_formats(self, column: ColumnDraft, sql_type: SqlType) -> None:
        if sql_type.family not in _TEMPORAL:
            return
        for position, form in enumerate(column.model.format or ()):
            problem = format_problem(form, sql_type.family)
            if problem is not None:
                self._report.mistake((*column.location, "format", position), problem)

    def _check_constant(self, text: str, conversion: Conversion, at: Location) -> None:
        problem = self._problem(text, conversion)
        if problem:
            self._report.mistake(at, problem)

    def _problem(self, text: str, conversion: Conversion) -> str | None:
        # Where an option widens what is accepted, the last word below is the only one.
        is_widened = (
            conversion.formats
            or conversion.rounding is not Rounding.REJECT
            or conversion.zone
            or conversion.default_zone
        )
        if not is_widened:
            problem = literal_problem(text, conversion.type, self.code_page, conversion.binary_format)
            if problem is not None:
                return problem
        strict = replace(conversion, on_invalid=OnError.REJECT, on_overflow=OnError.REJECT)
        return conversion_problem(text, strict, is_value=True)


def conversion_problem(text: str, conversion: Conversion, *, is_value: bool = False) -> str | None:
    """Say why a load could not convert a constant, or, with ``is_value``, would make NULL of it."""
    try:
        value = constant_value(conversion, text)
    except ValueError as error:
        return re.sub(r"\s+", " ", str(error))
    return f"{text!r} is no value of {conversion.type}" if is_value and value is None else None


def literal_problem(
    text: str, sql_type: SqlType, code_page: str, binary_format: str = "base64"
) -> str | None:
    """Say why a constant is no value of the type; None = it is."""
    try:
        parse_literal(text, sql_type, code_page, binary_format=binary_format)
    except ValueError as error:
        return re.sub(r"\s+", " ", str(error))
    return None
