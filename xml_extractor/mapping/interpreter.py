"""Runs a compiled plan on parsed documents: one walk for the texts, then the tables from the top down."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from lxml import etree

from xml_extractor.contract.plan import Plan, fold_name
from xml_extractor.mapping.captures import SEVERAL, ScopeFrame, scope_walkers
from xml_extractor.mapping.columns import DocumentContext, expression_captures, several_nodes
from xml_extractor.mapping.conversion import converter
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Environment, Frame, compile_condition
from xml_extractor.mapping.records import MappedDocument, Rejection, SourceDocument, Stage
from xml_extractor.mapping.rejection import DocumentRejected, DocumentSkipped
from xml_extractor.mapping.rows import TableRows
from xml_extractor.mapping.unknown_elements import UnknownElements

_DEFAULT_CODE_PAGE: Final = "cp1252"


class _TableNode:
    """A table with its children, and the way from the parent's frame to its own frames."""

    def __init__(self, rows: TableRows, way: tuple[int, ...], steps: tuple[int, ...]) -> None:
        self.rows = rows
        self.index = rows.index
        self.way = way
        """The scopes passed from the parent's frame to the table's own, that one included."""
        self.steps = steps
        self.children: tuple[_TableNode, ...] = ()


class Interpreter:
    """A plan made ready to run.  Not thread-safe: one per worker.

    Args:
        plan: the compiled contract.
        load_started_at: what GETUTCDATE() answers, UTC.

    Raises:
        ValueError: the plan holds a constant that does not fit its type, or a plug-in that cannot be
            imported.
        UsageError: the plan hashes columns, and there is no salt that can be used.
    """

    def __init__(self, plan: Plan, load_started_at: datetime) -> None:
        self.plan = plan
        code_pages = {column.conversion.code_page for table in plan.tables for column in table.columns}
        environment = Environment(
            load_started_at=load_started_at,
            converter=converter,
            code_page=code_pages.pop() if len(code_pages) == 1 else _DEFAULT_CODE_PAGE,
        )
        self._ignore_case = plan.ignore_case
        self._roots = frozenset(plan.roots)
        self.walkers = scope_walkers(plan)
        self._root_walker = self.walkers[0]
        self.where = None
        self.where_captures: frozenset[int] = frozenset()
        if plan.document_where is not None:
            self.where = compile_condition(plan.document_where, environment)
            self.where_captures = expression_captures(plan.document_where)
        self.unknown = UnknownElements(plan) if plan.report_unknown else None
        self.environment = environment
        self.nodes = [self._node(index) for index in range(len(plan.tables))]
        for node in self.nodes:
            node.children = tuple(n for n in self.nodes if plan.tables[n.index].parent == node.index)
        self._top = tuple(n for n in self.nodes if plan.tables[n.index].parent is None)

    def _node(self, index: int) -> _TableNode:
        plan = self.plan
        table = plan.tables[index]
        goal = 0 if table.parent is None else plan.tables[table.parent].scope
        way: list[int] = []
        steps: list[int] = []
        scope = table.scope
        while scope != goal:
            parent = plan.scopes[scope].parent
            assert parent is not None, "a table's scope lies below its parent's"
            way.insert(0, scope)
            steps.insert(0, self.walkers[parent].child_slots[scope])
            scope = parent
        return _TableNode(TableRows(plan, index, self.environment), tuple(way), tuple(steps))

    def run(self, root: etree._Element, document: SourceDocument) -> MappedDocument:
        """Map one parsed document.

        Raises:
            DocumentRejected: something in it cannot be mapped.
            DocumentSkipped: its root or its ``document.where`` says that it is another contract's.
        """
        tag = fold_name(root.tag) if self._ignore_case else root.tag
        if tag not in self._roots:
            raise DocumentSkipped(
                Rejection(
                    Stage.MAP,
                    "other_root",
                    f"the root element is none of {', '.join(sorted(self._roots))}",
                )
            )
        frame = self._root_walker.root_frame(root)
        if self.where is not None:
            self._check_where(frame)
        context = DocumentContext(document, root, len(self.plan.tables))
        for node in self._top:
            self._make(node, _frames(frame, node.steps), context)
        if not context.where_dropped and not any(context.rows[node.index] for node in self._top):
            raise self.no_rows()
        return MappedDocument(
            context.rows,
            context.truncated,
            () if self.unknown is None else self.unknown.find(root),
        )

    def _make(self, node: _TableNode, frames: list[ScopeFrame] | None, context: DocumentContext) -> None:
        if not frames:
            return
        kept = node.rows.make(frames, context)
        out = context.rows[node.index]
        if not node.children:
            out.extend(kept)
            return
        for row, frame in kept:
            out.append(row)
            for child in node.children:
                steps = child.steps
                below = frame[steps[0]] if len(steps) == 1 else _frames(frame, steps)
                if below:
                    # Set for every child: a child's own children have left their rows here.
                    context.current_rows[node.index] = row
                    self._make(child, below, context)

    def _check_where(self, frame: ScopeFrame) -> None:
        assert self.where is not None
        several = frame[self._root_walker.size + SEVERAL]
        if several is not None and not self.where_captures.isdisjoint(several):
            fault = several_nodes()
            raise _where_refused(fault.code, fault.message)
        try:
            holds = self.where(Frame([], frame))
        except EvaluationError as error:
            raise _where_refused(error.code, error.message) from None
        if holds is not True:
            raise self.not_ours()

    def no_rows(self) -> DocumentRejected:
        """The refusal of a document that gives the top tables nothing."""
        names = ", ".join(node.rows.table.name for node in self._top)
        return DocumentRejected(
            Rejection(
                Stage.MAP,
                "no_rows",
                f"the document gives no row for {names}: the path of `rows` finds no element in it",
                table=self._top[0].rows.table.name,
            )
        )

    def not_ours(self) -> DocumentSkipped:
        """What is said of a document for which ``document.where`` is not true."""
        return DocumentSkipped(
            Rejection(
                Stage.MAP,
                "document_where",
                f"the contract's condition on the document is not true: {self.plan.document_where_text}",
            )
        )


def _where_refused(code: str, message: str) -> DocumentRejected:
    return DocumentRejected(Rejection(Stage.MAP, code, f"the condition `document.where`: {message}"))


def _frames(frame: ScopeFrame, steps: tuple[int, ...]) -> list[ScopeFrame]:
    """Follow the child scopes from one frame, in document order."""
    found = [frame]
    for step in steps:
        found = [below for outer in found if outer[step] is not None for below in outer[step]]
    return found
