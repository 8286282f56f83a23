"""Reads tables of composite literals from Go source: just enough of the language for test tables.

Strings come as bytes, numbers as int, names as `Name`, calls as `Call`, composite literals as
`Literal` with its elements in order and its keyed fields. Nothing is evaluated but `+`, `<<` and
strings.Repeat.
"""

import re

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|(?P<raw>`[^`]*`)|(?P<string>"(?:\\.|[^"\\\n])*")"""
    r"""|(?P<char>'(?:\\.|[^'\\])+')|(?P<number>\d\w*)|(?P<name>[^\W\d]\w*)|(?P<mark><<|.)""",
    re.S,
)
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}|.)")
SIMPLE = {"n": 10, "r": 13, "t": 9, "v": 11, "b": 8, "f": 12, "a": 7}


class Name(str):
    """An identifier, with its package if it has one."""


class Call:
    def __init__(self, name, arguments):
        self.name, self.arguments = name, arguments


class Literal:
    def __init__(self, kind, elements):
        self.kind = kind
        self.items = [value for key, value in elements if key is None]
        self.fields = {key: value for key, value in elements if key is not None}


def table(source, start, name):
    """The elements of the table `name` that stands behind the text `start`."""
    at = source.index(start)
    at = re.compile(r"\b%s :?= (?=\[\])" % name).search(source, at).end()
    return Parser(source[at:]).value().items


def unescape(text):
    out, at = b"", 0
    for match in ESCAPE.finditer(text):
        out += text[at : match.start()].encode()
        code, at = match.group(1), match.end()
        if code[0] == "u":
            out += chr(int(code[1:], 16)).encode()
        elif code[0] == "x":
            out += bytes([int(code[1:], 16)])
        elif len(code) == 3:
            out += bytes([int(code, 8)])
        else:
            out += bytes([SIMPLE.get(code, ord(code))])
    return out + text[at:].encode()


class Parser:
    def __init__(self, source):
        tokens = TOKEN.finditer(source)
        self.tokens = ((token.lastgroup, token.group()) for token in tokens)
        self.advance()

    def advance(self):
        self.kind, self.text = next(
            (token for token in self.tokens if token[0] != "skip"), ("end", "")
        )

    def take(self, text):
        found = self.text == text and self.kind in ("mark", "name")
        if found:
            self.advance()
        return found

    def need(self, text):
        if not self.take(text):
            raise SyntaxError(f"{text!r} is due where {self.text!r} stands")

    def value(self):
        left = self.primary()
        while self.kind == "mark" and self.text in ("+", "<<"):
            operator = self.text
            self.advance()
            right = self.primary()
            left = left + right if operator == "+" else left << right
        return left

    def primary(self):
        kind, text = self.kind, self.text
        if kind in ("raw", "string", "number"):
            self.advance()
            if kind == "number":
                return int(text, 0)
            return text[1:-1].encode() if kind == "raw" else unescape(text[1:-1])
        if self.take("&"):
            return self.primary()
        if self.take("-"):
            return -self.primary()
        if text == "{":
            return self.literal("")
        kind = self.type()
        if self.text == "{":
            return self.literal(kind)
        if self.text == "(":
            return self.call(kind)
        return Name(kind)

    def type(self):
        if self.take("["):
            self.need("]")
            return "[]" + self.type()
        if self.take("struct"):
            self.braces()
            return "struct"
        name = self.text
        if self.kind != "name":
            raise SyntaxError(f"a type is due where {name!r} stands")
        self.advance()
        while self.take("."):
            name += "." + self.text
            self.advance()
        return name

    def braces(self):
        depth = 0
        while True:
            depth += {"{": 1, "}": -1}.get(self.text, 0)
            self.advance()
            if depth == 0:
                return

    def literal(self, kind):
        self.need("{")
        elements = []
        while not self.take("}"):
            value, key = self.value(), None
            if self.take(":"):
                key, value = value, self.value()
            elements.append((key, value))
            if not self.take(","):
                self.need("}")
                break
        return Literal(kind, elements)

    def call(self, name):
        self.need("(")
        arguments = []
        while not self.take(")"):
            arguments.append(self.value())
            self.take(",")
        if name == "strings.Repeat":
            return arguments[0] * arguments[1]
        return Call(name, arguments)
