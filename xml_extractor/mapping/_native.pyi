from lxml import etree

from xml_extractor.contract.expression import Expression
from xml_extractor.contract.types import Value
from xml_extractor.mapping.expression_runtime import Environment, Frame
from xml_extractor.mapping.interpreter import Interpreter
from xml_extractor.mapping.layouts import LayoutEncoder
from xml_extractor.mapping.records import EncodedDocument, MappedDocument, SourceDocument

class NativeInterpreter:
    encodes: bool
    def __init__(self, python: Interpreter, encoder: LayoutEncoder | None = None) -> None: ...
    def encode(self, root: etree._Element, document: SourceDocument) -> EncodedDocument | MappedDocument: ...
    def run(self, root: etree._Element, document: SourceDocument) -> MappedDocument: ...

class NativeExpression:
    is_native: bool
    def __init__(self, expression: Expression, environment: Environment) -> None: ...
    def evaluate(self, frame: Frame) -> Value: ...

def check_libraries() -> None: ...
