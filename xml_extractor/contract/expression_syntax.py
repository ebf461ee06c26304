"""T-SQL expression text to sqlglot's syntax tree, with nothing rewritten.

sqlglot reads dialects in order to translate them, so its T-SQL parser turns functions into a neutral form
(ISNULL becomes COALESCE, LEN casts its argument, DATEDIFF's arguments are wrapped and swapped).  What we
need is what the user wrote.  So the dialect below has no functions: each call stays an ``Anonymous`` node
with its arguments in their order.  It also mends what sqlglot takes loosely (THEN, BETWEEN's AND and
closing parentheses may be left out there) and gives unary minus the place that T-SQL gives it, below
``* / %``: ``4 / -2 * 5`` is ``4 / -(2 * 5)``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sqlglot import exp
from sqlglot.dialects.tsql import TSQL
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.tsql import TSQLParser
from sqlglot.tokenizer_core import TokenType

from xml_extractor.contract.expression import ExpressionError


class _ExpressionParser(TSQLParser):
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    NO_PAREN_FUNCTIONS: ClassVar[dict[TokenType, Any]] = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CASE": lambda self: self._strict_case()}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        "CAST": lambda self: self._cast("CAST"),
        "TRY_CAST": lambda self: self._cast("TRY_CAST"),
        "CONVERT": lambda self: self._convert("CONVERT"),
        "TRY_CONVERT": lambda self: self._convert("TRY_CONVERT"),
        "TRIM": lambda self: self._trim(),
    }
    UNARY_PARSERS: ClassVar[dict[TokenType, Any]] = {
        **TSQLParser.UNARY_PARSERS,
        TokenType.DASH: lambda self: self._minus(),
        TokenType.PLUS: lambda self: self._parse_factor(),
    }
    RANGE_PARSERS: ClassVar[dict[TokenType, Any]] = {
        **TSQLParser.RANGE_PARSERS,
        TokenType.BETWEEN: lambda self, this: self._strict_between(this),
    }

    def _expect(self, token_type: TokenType, words: str) -> None:
        if not self._match(token_type):
            self.raise_error(f"{words} is missing here")

    def _minus(self) -> exp.Expr:
        start = self._prev.start
        return self._placed(self.expression(exp.Neg(this=self._parse_factor())), start)

    def _strict_case(self) -> exp.Expr:
        start = self._prev.start
        operand = None if self._curr.token_type == TokenType.WHEN else self._parse_disjunction()
        branches = []
        while self._match(TokenType.WHEN):
            condition = self._parse_disjunction()
            self._expect(TokenType.THEN, "THEN")
            branches.append(exp.If(this=condition, true=self._parse_disjunction()))
        if not branches:
            self.raise_error("CASE needs WHEN")
        default = self._parse_disjunction() if self._match(TokenType.ELSE) else None
        self._expect(TokenType.END, "CASE's END")
        for branch in branches:
            if branch.this is None or branch.args["true"] is None:
                self.raise_error("an expression is missing after WHEN or THEN", self._prev)
        return self._placed(exp.Case(this=operand, ifs=branches, default=default), start)

    def _strict_between(self, this: exp.Expr | None) -> exp.Expr:
        low = self._parse_bitwise()
        self._expect(TokenType.AND, "BETWEEN's AND")
        return self.expression(exp.Between(this=this, low=low, high=self._parse_bitwise()))

    def _call(self, name: str, arguments: list[exp.Expr | None]) -> exp.Expr:
        """The call being parsed, up to its closing parenthesis (which the caller takes)."""
        if self._curr.token_type != TokenType.R_PAREN:
            self.raise_error(f"{name}'s closing parenthesis is missing here")
        return exp.Anonymous(this=name, expressions=arguments)

    def _opening(self) -> int:
        return self._tokens[self._index - 2].start

    def _placed(self, node: exp.Expr, start: int) -> exp.Expr:
        node.meta["start"] = start
        return node

    def _type_text(self) -> exp.Expr:
        """The text of a type, up to the comma or parenthesis that ends it, as a string literal."""
        start = end = self._curr
        depth = 0
        while self._curr and not (
            depth == 0 and self._curr.token_type in (TokenType.R_PAREN, TokenType.COMMA)
        ):
            depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(self._curr.token_type, 0)
            end = self._curr
            self._advance()
        if not start or start.token_type in (TokenType.R_PAREN, TokenType.COMMA):
            self.raise_error("a type is missing here")
        return self._placed(exp.Literal.string(self._find_sql(start, end)), start.start)

    def _cast(self, name: str) -> exp.Expr:
        start = self._opening()
        value = self._parse_disjunction()
        self._expect(TokenType.ALIAS, f"AS and a type, as in {name}(x AS int),")
        return self._placed(self._call(name, [self._type_text(), value]), start)

    def _convert(self, name: str) -> exp.Expr:
        start = self._opening()
        arguments: list[exp.Expr | None] = [self._type_text()]
        while self._match(TokenType.COMMA):
            arguments.append(self._parse_disjunction())
        return self._placed(self._call(name, arguments), start)

    def _trim(self) -> exp.Expr:
        """``TRIM([BOTH|LEADING|TRAILING] [characters FROM] text)``: the side as a literal, then the rest."""
        start = self._opening()
        side = "both"
        if self._next.token_type not in (
            TokenType.R_PAREN,
            TokenType.COMMA,
            TokenType.DOT,
        ) and self._match_texts(("BOTH", "LEADING", "TRAILING")):
            side = self._prev.text.lower()
        arguments: list[exp.Expr | None] = [exp.Literal.string(side), self._parse_bitwise()]
        if self._match(TokenType.FROM):
            arguments.insert(1, self._parse_bitwise())
        elif side != "both":
            self.raise_error("TRIM's FROM is missing here")
        return self._placed(self._call("TRIM", arguments), start)


class _ExpressionDialect(TSQL):
    Parser = _ExpressionParser


_DIALECT: Final = _ExpressionDialect()


def parse_syntax(text: str) -> exp.Expr:
    """Parse one whole expression or condition.

    Raises:
        ExpressionError: it is not well formed.
    """
    if not text.strip():
        raise ExpressionError("the expression is empty")
    try:
        tokens = _DIALECT.tokenize(text)
        before = TokenType.COMMA
        for token in tokens:
            if token.token_type == TokenType.SEMICOLON:
                raise ExpressionError("an expression cannot hold a semicolon", token.start)
            if before == TokenType.COMMA and token.token_type in (TokenType.COMMA, TokenType.R_PAREN):
                raise ExpressionError("a value is missing here", token.start)  # sqlglot would let it pass
            before = token.token_type
        (tree,) = _DIALECT.parser().parse_into(exp.Condition, tokens, text)
    except TokenError:
        raise ExpressionError(
            "the text cannot be split into words: a quote, bracket or comment is not closed", _unclosed(text)
        ) from None
    except ParseError as error:
        raise _syntax_error(text, error) from None
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None
    if tree is None:
        raise ExpressionError("the expression is empty")
    return tree


def offset_of(node: exp.Expr, default: int) -> int:
    """Where a node begins in the text: its own place, else the first place among its members."""
    own = node.meta.get("start")
    if own is not None:
        return int(own)
    places = [n.meta["start"] for n in node.walk() if "start" in n.meta]
    return min(places) if places else default


def _syntax_error(text: str, error: ParseError) -> ExpressionError:
    details = error.errors[0] if error.errors else {}
    highlight = details.get("highlight") or ""
    before = text.split("\n")[: max((details.get("line") or 1) - 1, 0)]
    # sqlglot's column is that of the token's last character, from 1.
    place = sum(len(line) + 1 for line in before) + (details.get("col") or 0) - len(highlight)
    description = details.get("description") or "it cannot be understood"
    if description == "Invalid expression / Unexpected token":
        description = f"unexpected {highlight!r}" if highlight else "it ends too early"
    elif description.startswith("Required"):
        description = f"an operand is missing near {highlight!r}"
    return ExpressionError(f"not a well-formed expression: {description}", min(max(place, 0), len(text)))


def _unclosed(text: str) -> int:
    """Where the quote, bracket or comment begins that is never closed."""
    closers = {"'": "'", '"': '"', "[": "]", "/*": "*/"}
    place = 0
    while place < len(text):
        opener = text[place : place + 2] if text.startswith("/*", place) else text[place]
        if text.startswith("--", place):
            end = text.find("\n", place)
            place = len(text) if end < 0 else end + 1
        elif opener in closers:
            end = text.find(closers[opener], place + len(opener))
            if end < 0:
                return place
            place = end + len(closers[opener])
        else:
            place += 1
    return 0
