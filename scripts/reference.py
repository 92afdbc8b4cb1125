#!/usr/bin/env python3
"""The API reference, made from the public headers, which are the manual: a page of HTML that can be searched and linked.

    reference.py OUT.html           writes it
    reference.py --check LIBRARY    only fails, with a list, if a public name has no text, or a name that the shared
                                    library exports is not in it

A header is a comment, then groups. A group is one comment and the declarations that follow it without an empty line; a
declaration may also have a comment of its own, behind it or inside. What has neither is undocumented.
"""
import collections
import glob
import html
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ORDER = ["base", "tensor", "op", "codec", "nn", "extend", "optim", "adapt", "data", "train", "checkpoint", "comm", "gpt", "io",
         "export", "infer"]

Group = collections.namedtuple("Group", "text declarations")
Section = collections.namedtuple("Section", "title groups")


def plain(comment):
    """The text of a comment without its frame."""
    lines = comment.strip()[2:-2].split("\n")
    return "\n".join(re.sub(r"^ ?\* ?", "", line) if n else line.strip() for n, line in enumerate(lines)).strip()


def elements(body):
    """Comments, declarations and empty lines in their order, as (kind, text)."""
    rest = body
    while rest:
        comment = re.match(r"/\*.*?\*/[ \t]*\n", rest, re.S)
        if rest.startswith("\n"):
            kind, length = "empty", 1
        elif comment:
            kind, length = "comment", comment.end()
        elif rest.startswith("#"):
            kind, length = "define", re.match(r"(?:.*\\\n)*.*\n", rest).end()
        else:
            kind, length = "declaration", end_of_declaration(rest)
        yield kind, rest[:length]
        rest = rest[length:]


def end_of_declaration(text):
    """Where it ends: with the line that has a semicolon, or the brace of a function, outside of braces and comments."""
    depth, at = 0, 0
    while at < len(text):
        if text.startswith("/*", at):
            at = text.index("*/", at) + 2
            continue
        depth += {"{": 1, "}": -1, "(": 1, ")": -1}.get(text[at], 0)
        function = text[at] == "}" and depth == 0 and text.startswith("static")
        at += 1
        if depth == 0 and (text[at - 1] == ";" or function):
            comment = re.match(r"[ \t]*(?:/\*.*?\*/)?[^\n]*\n", text[at:], re.S)
            return at + comment.end()
    raise ValueError("a declaration that does not end: " + text[:80])


def names_of(kind, text):
    if kind == "define":
        match = re.match(r"#define (RBE_\w+)", text)
        return [match.group(1)] if match and not re.fullmatch(r"RBE_\w+_H|RBE_API|RBE_PRINTF", match.group(1)) else []
    bare = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    if match := re.match(r"typedef (?:struct|enum|union) \w+ \{.*\} (\w+);|(?:struct|enum) (\w+) \{", bare, re.S):
        return [match.group(1) or match.group(2)]
    if match := re.match(r"typedef .*?\(\*(\w+)\)\(|typedef (?:.*?\W)(\w+)(?:\(.*\))?;", bare, re.S):
        return [match.group(1) or match.group(2)]
    match = re.search(r"\b(rbe_\w+)\s*\(|\b(rbe_\w+);", bare)
    return [match.group(1) or match.group(2)] if match else []


def parse(path):
    """The introduction and the sections of a header."""
    text = open(path, encoding="utf-8").read()
    begin = re.match(r"/\*.*?\*/\n", text, re.S).end()
    introduction = plain(text[:begin])
    body = re.sub(r'#ifdef __cplusplus\n(?:.*\n)*?#endif\n|#if defined(?:.*\n)*?#endif\n', "", text[begin:])
    body = re.sub(r"^#(?:include|ifndef|endif|undef).*\n|^#define RBE_\w+_H\n", "", body, flags=re.M)
    sections, comment, group = [Section("", [])], "", []
    for kind, part in list(elements(body)) + [("empty", "")]:
        title = re.match(r"/\* ---- (.*?) -*\s*\*/", part)
        if kind in ("empty", "comment") and group:
            sections[-1].groups.append(Group(comment, group))
            comment, group = "", []
        if title:
            sections.append(Section(title.group(1).strip(), []))
        elif kind == "comment":
            comment = (comment + "\n\n" if comment else "") + plain(part)
        elif kind == "empty" and comment:
            comment += "\n"
        elif kind != "empty":
            group.append((names_of(kind, part), part))
    return introduction, [section for section in sections if section.groups]


def undocumented(header, sections):
    for section in sections:
        for group in section.groups:
            for names, text in group.declarations:
                if not group.text.strip() and "/*" not in text:
                    yield from (f"include/rbe/{header}: {name} has no text" for name in names)


# ---- the page ------------------------------------------------------------------------------------------------------

STYLE = """
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 sans-serif; color: #222; }
pre { background: #f5f5f2; padding: .7rem 1rem; overflow-x: auto; font-size: 14px; line-height: 1.4; }
p, .text { white-space: pre-wrap; } h2 { border-bottom: 2px solid #888; margin-top: 3rem; } h3 { margin-top: 2rem; }
a { color: #0b5394; text-decoration: none; } #index { columns: 3; font-size: 14px; list-style: none; padding: 0; }
:target { background: #fff3c4; }
"""


def marked(text, known):
    """HTML in which the names that the page has are links."""
    return re.sub(r"\b(rbe_\w+|RBE_\w+)\b", lambda m: f'<a href="#{m.group()}">{m.group()}</a>' if m.group() in known
                  else m.group(), html.escape(text, quote=False))


def names_in(headers):
    return {name for _, (_, sections) in headers for section in sections for group in section.groups
            for names, _ in group.declarations for name in names}


def page(headers):
    known = names_in(headers)
    out = [f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>librbe reference</title><style>{STYLE}</style>',
           "<h1>librbe reference</h1>", "<ul>"]
    out += [f'<li><a href="#{name}">rbe/{name}</a></li>' for name, _ in headers]
    out.append('<li><a href="#index">all names</a></li></ul>')
    for header, (introduction, sections) in headers:
        out.append(f'<h2 id="{header}">rbe/{header}</h2><div class="text">{marked(introduction, known)}</div>')
        for section in sections:
            out.append(f"<h3>{html.escape(section.title)}</h3>" if section.title else "")
            for group in section.groups:
                ids = "".join(f'<a id="{name}"></a>' for names, _ in group.declarations for name in names)
                code = "".join(text for _, text in group.declarations).replace("RBE_API ", "")
                out.append(f"{ids}<pre>{marked(code.rstrip(), known)}</pre>")
                out.append(f'<div class="text">{marked(group.text, known)}</div>' if group.text.strip() else "")
    out.append("<h2>All names</h2><ul id=\"index\">")
    out += [f'<li><a href="#{name}">{name}</a></li>' for name in sorted(known)]
    return "\n".join(out + ["</ul></html>"]) + "\n"


def not_in(headers, library):
    """The names that the library exports, without those in the headers."""
    known = names_in(headers)
    symbols = subprocess.run(["nm", "-D", "--defined-only", "-P", library], capture_output=True, text=True, check=True).stdout
    return [f"{library}: {name} is in no header" for name in re.findall(r"^(rbe_\w+) ", symbols, re.M) if name not in known]


def main():
    checks = len(sys.argv) == 3 and sys.argv[1] == "--check"
    if not checks and (len(sys.argv) != 2 or sys.argv[1].startswith("-")):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    found = {os.path.basename(path)[:-2] for path in glob.glob(os.path.join(ROOT, "include/rbe/*.h"))} - {"rbe"}
    headers = [(f"{name}.h", parse(os.path.join(ROOT, "include/rbe", name + ".h")))
               for name in [n for n in ORDER if n in found] + sorted(found - set(ORDER))]
    missing = [line for header, (_, sections) in headers for line in undocumented(header, sections)]
    missing += not_in(headers, sys.argv[2]) if checks else []
    for line in missing:
        print(line)
    if not checks and not missing:
        os.makedirs(os.path.dirname(sys.argv[1]) or ".", exist_ok=True)
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(page(headers))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
