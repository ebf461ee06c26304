from lxml import etree

from xml_extractor.mapping.interpreter import Interpreter
from xml_extractor.mapping.records import MappedDocument, SourceDocument

class NativeInterpreter:
    def __init__(self, python: Interpreter) -> None: ...
    def run(self, root: etree._Element, document: SourceDocument) -> MappedDocument: ...
