#!/usr/bin/env python3
"""Checks README.md, CONTRIBUTING.md, CHANGELOG.md, data/README.md and docs/*.md: runs what they tell a reader to run.

    docs_check.py [--build DIR] [FILE ...]      default: build, and all of them
    docs_check.py --extract FILE OUT            writes the C programs of FILE into the folder OUT

Every code block has a fence, and the word behind the fence says what happens to it:

    sh            The commands run in one shell for each document, in a folder of their own, where build, data, scripts and
                  so on are those of the project. What is not run is listed in PRELUDE: make and installers are checked only.
    c             A complete program begins with a comment, /* NAME.c: ... */. It is there as NAME.c for the commands.
    c PATH        A fragment: it must occur in the file PATH, whatever its indentation.
    output        What the sh block before it has printed. "..." stands for anything.
    output about  The same, but numbers with a decimal point may be off by TOLERANCE or LEAST: the processor decides.
    text          Not checked.

Documents in SHORT describe experiments that take hours. There the programs run for one epoch with one seed (SHORTER), DIR
has the first digits of data/, and loops over numbers have one round; of benchmarks only the options are checked.

In all documents links, anchors, names of files between backticks and the spelling (codespell) are checked. Run it by make
docs-check: it installs the library into a temporary folder, with the flags of that make.
"""
import argparse
import collections
import concurrent.futures
import glob
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHORT = {"docs/results.md", "docs/performance.md", "docs/deploy.md", "docs/scaling.md"}
SHORTER = {"--epochs": "1", "--seeds": "1", "--steps": "5"}
DIGITS = {"train": 600, "t10k": 100}
LINKED = ["data", "docs", "examples", "include", "python", "scripts", "src", "tests", "tools", "Makefile", "README.md", "LICENSE"]
SPELLED = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "include", "examples", "src", "tests", "scripts"]
WORDS = "ans,cleary,crate,fo,froms,nd,numer,ser,te,ue,valu"  # names and parts of words that codespell takes for mistakes
TOLERANCE, LEAST = 0.3, 0.5  # of numbers in "output about": a share, or as much
LIMIT = 600  # seconds for a document

PRELUDE = r"""
set -eu
export OPENBLAS_NUM_THREADS=1
checked() { echo "docs_check: not run: $*" >&2; }
command -v mpicc > /dev/null || export MPICC=echo # a command that make -n can ask for its flags
make() { checked make "$@"; command make --no-print-directory -n "$@" > /dev/null; }
for tool in sudo git mpirun arm-none-eabi-gcc arm-none-eabi-size qemu-arm; do
    eval "$tool() { checked $tool \"\$@\"; }"
done
sh() { # a script: those that draw run, of others the syntax is checked, and that they know --help
    case $1 in
        scripts/plot_deploy.sh) checked sh "$@" ;; # of a table that deploy.sh has not made
        scripts/plot_*) command sh "$@" ;;
        scripts/*) checked sh "$@"; command sh -n "$1"; command sh "$1" --help > /dev/null ;;
        *) command sh "$@" ;;
    esac
}
"""

Block = collections.namedtuple("Block", "line info text")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks_of(text):
    """The fenced blocks of a document; the prose, with its lines where they were; and what is wrong with the fences."""
    blocks, prose, problems, inside = [], [], [], None
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            if inside is None:
                inside = Block(number, line[3:].strip(), [])
                if not inside.info:
                    problems.append((number, "a fence without a word behind it"))
            else:
                blocks.append(inside._replace(text="\n".join(inside.text) + "\n"))
                inside = None
            prose.append("")
        elif inside is not None:
            inside.text.append(line)
            prose.append("")
        else:
            if re.match(r" {4}\S", line) and prose and not prose[-1].strip():
                problems.append((number, "a code block without a fence"))
            prose.append(line)
    if inside is not None:
        problems.append((inside.line, "a fence that does not end"))
    return blocks, "\n".join(prose), problems


# ---- links and names -------------------------------------------------------------------------------------------


def anchors_of(text):
    """What GitHub makes of the headings."""
    anchors = set()
    for heading in re.findall(r"^#+ +(.*?) *$", blocks_of(text)[1], re.M):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        name, n = anchor, 0
        while name in anchors:
            n += 1
            name = f"{anchor}-{n}"
        anchors.add(name)
    return anchors


def check_links(document, prose):
    folder = os.path.dirname(document)
    for number, line in enumerate(prose.split("\n"), 1):
        for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            path = os.path.normpath(os.path.join(folder, path)) if path else document
            if not os.path.exists(os.path.join(ROOT, path)):
                yield number, f"a link to {path}, which is not there"
            elif anchor and anchor not in anchors_of(read(os.path.join(ROOT, path))):
                yield number, f"a link to {path}#{anchor}: there is no such heading"
        for name in re.findall(r"`((?:src|docs|examples|tests|scripts|include|python|data|rbe)/[\w./*]+)`", line):
            name = re.sub(r"\b[A-Z]{3,}\b|_[A-Z]+(?=[_.])|_N(?=_)", "*", name)
            places = [name, "include/" + name, "src/" + name]
            if not any(glob.glob(os.path.join(ROOT, p)) for p in places):
                yield number, f"{name} is not there"


# ---- C -----------------------------------------------------------------------------------------------------------


def program_name(block):
    match = re.match(r"/\* ([\w-]+\.c): ", block.text)
    return match.group(1) if match else None


def c_problem(block):
    """None, or what is wrong with a block of C."""
    words = block.info.split()
    if len(words) == 1:
        return None if program_name(block) else "neither a program, /* NAME.c: ... */, nor ```c PATH"
    if not os.path.exists(os.path.join(ROOT, words[1])):
        return f"{words[1]} is not there"
    lines = [line.strip() for line in block.text.strip().split("\n")]
    there = [line.strip() for line in read(os.path.join(ROOT, words[1])).split("\n")]
    found = any(there[n : n + len(lines)] == lines for n in range(len(there)))
    return None if found else f"this is not in {words[1]}"


# ---- commands ----------------------------------------------------------------------------------------------------


def first_digits(name, folder, count):
    """An IDX file that holds the first samples of the one in data/."""
    with gzip.open(os.path.join(ROOT, "data", name)) as file:
        raw = file.read()
    dims = raw[3]
    size = 1
    for n in range(1, dims):
        size *= int.from_bytes(raw[4 + 4 * n : 8 + 4 * n], "big")
    begin = 4 + 4 * dims
    with gzip.open(os.path.join(folder, name), "wb") as file:
        file.write(raw[:4] + count.to_bytes(4, "big") + raw[8 : begin + count * size])


def make_sandbox(folder, build, short):
    for name in LINKED:
        if os.path.exists(os.path.join(ROOT, name)):
            os.symlink(os.path.join(ROOT, name), os.path.join(folder, name))
    os.mkdir(os.path.join(folder, "out"))
    os.mkdir(os.path.join(folder, "DIR"))
    for part, count in DIGITS.items():
        for kind in ("images-idx3", "labels-idx1"):
            first_digits(f"{part}-{kind}-ubyte.gz", os.path.join(folder, "DIR"), count)
    if not short:
        os.symlink(build, os.path.join(folder, "build"))
        return
    for kind in ("examples", "bench"):
        os.makedirs(os.path.join(folder, "build", kind))
        for program in glob.glob(os.path.join(build, kind, "*")):
            if program.endswith((".o", ".d")) or not os.access(program, os.X_OK):
                continue
            with open(os.path.join(folder, "build", kind, os.path.basename(program)), "w") as file:
                file.write(shorter(kind, program))
            os.chmod(file.name, 0o755)


def shorter(kind, program):
    """A script in the place of a program: it makes the work small by those options of SHORTER that the program has. A
    benchmark does not run: its options must be among those that it knows."""
    usage = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    known = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", usage, re.M)
    if kind == "bench":
        return ('#!/bin/sh\nfor word; do case $word in ' + " | ".join(known) +
                ') ;; --*) echo "unknown option $word"; exit 2 ;; esac; done\n')
    options = [f"{name} {value}" for name, value in SHORTER.items() if name in known]
    return f'#!/bin/sh\nexec {program} "$@" {" ".join(options)}\n'


def script_of(blocks, short):
    """One shell script; in front of each block it prints a mark on both streams."""
    parts = [PRELUDE]
    for block in blocks:
        text = block.text
        if short:
            text = re.sub(r"\b(for \w+ in \d+)( \d+)+", r"\1", text)
            text = text.replace("--hold-out 10000", "--hold-out 100")
        parts.append(f"printf '\\n\\001%d\\n' {block.line}; printf '\\n\\001%d\\n' {block.line} >&2\n{text}")
    return "\n".join(parts)


def by_block(stream):
    """Block's line: what was printed there."""
    found = {}
    for part in stream.split("\n\001")[1:]:
        line, _, text = part.partition("\n")
        found[int(line)] = text
    return found


NUMBER = r"[-+]?\d+\.\d+(?:e[-+]?\d+)?"


def same_line(expected, found, about):
    """Whether a line is as expected, where "..." is anything; about: and numbers with a point are about as expected."""
    pattern, numbers = "", []
    for token in re.findall(rf"\.\.\.|{NUMBER}|\s+|.", expected):
        if token == "...":
            pattern += ".*"
        elif about and re.fullmatch(NUMBER, token):
            pattern += f"({NUMBER})"
            numbers.append(float(token))
        else:
            pattern += r"\s+" if token.isspace() else re.escape(token)
    match = re.fullmatch(pattern, found)
    return bool(match) and all(abs(float(f) - n) <= max(TOLERANCE * abs(n), LEAST) for n, f in zip(numbers, match.groups()))


def lines_of(text):
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return lines


def difference(block, found):
    """None, or what is wrong. A line "..." stands for any lines."""
    expected, lines = lines_of(block.text), lines_of(found)
    about = block.info.split()[1:] == ["about"]

    def fits(e, f):
        if e == len(expected):
            return f == len(lines)
        if expected[e].strip() == "...":
            return any(fits(e + 1, g) for g in range(f, len(lines) + 1))
        return f < len(lines) and same_line(expected[e], lines[f], about) and fits(e + 1, f + 1)

    return None if fits(0, 0) else "\n    ".join(["this is not what was printed, which is:"] + lines)


def run_blocks(document, blocks, build, environment):
    short = document in SHORT
    commands = [b for b in blocks if b.info.split()[:1] == ["sh"]]
    with tempfile.TemporaryDirectory(prefix="docs_check.") as folder:
        make_sandbox(folder, build, short)
        for block in blocks:
            if block.info == "c" and program_name(block):
                with open(os.path.join(folder, program_name(block)), "w", encoding="utf-8") as file:
                    file.write(block.text)
        shell = subprocess.Popen(["bash", "-c", script_of(commands, short)], cwd=folder, env=environment,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 encoding="utf-8", errors="replace", start_new_session=True)
        try:
            out, err = map(by_block, shell.communicate(timeout=LIMIT))
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            out, err = map(by_block, shell.communicate())
            yield max(out, default=0), f"the commands of the document take more than {LIMIT} s"
            return
    if shell.returncode != 0:
        last = max(out, default=0)
        yield last, f"exit code {shell.returncode}:\n{out.get(last, '')}{err.get(last, '')}"
        return
    for before, block in zip(blocks, blocks[1:]):
        if block.info.split()[:1] == ["output"]:
            if before not in commands:
                yield block.line, "output without commands directly before it"
            elif (problem := difference(block, out[before.line])) is not None:
                yield block.line, problem


# ---- all of it -----------------------------------------------------------------------------------------------------


def check_document(document, build, environment):
    text = read(os.path.join(ROOT, document))
    blocks, prose, problems = blocks_of(text)
    problems += check_links(document, prose)
    for block in blocks:
        kind = (block.info.split() or [""])[0]
        if kind and kind not in ("sh", "c", "output", "text"):
            problems.append((block.line, f"unknown word behind the fence: {block.info}"))
        if kind == "c" and (problem := c_problem(block)) is not None:
            problems.append((block.line, problem))
    problems += run_blocks(document, blocks, build, environment)
    return sorted(problems)


def install(build, folder):
    """The library as a user has it, below the folder; the environment in which programs find it."""
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"BUILD={build}", f"PREFIX={folder}", "DESTDIR="], check=True,
                   stdout=subprocess.DEVNULL)
    environment = dict(os.environ, PKG_CONFIG_PATH=folder + "/lib/pkgconfig", LD_LIBRARY_PATH=folder + "/lib")
    environment["PATH"] = folder + "/bin:" + environment["PATH"]
    return environment


def check_spelling():
    if not shutil.which("codespell"):
        print("docs_check: codespell is not installed: spelling is not checked")
        return True
    return subprocess.run(["codespell", "--ignore-words-list", WORDS] + SPELLED, cwd=ROOT, check=False).returncode == 0


def extract(path, out):
    os.makedirs(out, exist_ok=True)
    for block in blocks_of(read(path))[0]:
        if block.info == "c" and program_name(block):
            with open(os.path.join(out, program_name(block)), "w", encoding="utf-8") as file:
                file.write(block.text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--extract", nargs=2)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if options.extract:
        extract(*options.extract)
        return 0
    os.chdir(ROOT)
    # Makes started from here can't share the jobs of the make above.
    os.environ["MAKEFLAGS"] = re.sub(r" ?(-j\d*|--jobserver-\S+)", "", os.environ.get("MAKEFLAGS", ""))
    documents = options.files or ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"] + sorted(glob.glob("docs/*.md"))
    good = check_spelling() if not options.files else True
    with tempfile.TemporaryDirectory(prefix="docs_check.") as folder, \
            concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        build = os.path.abspath(options.build)
        environment = install(build, folder)
        for document, problems in zip(documents, pool.map(lambda d: check_document(d, build, environment), documents)):
            for line, text in problems:
                print(f"{document}:{line}: {text}")
            good = good and not problems
    print(f"docs_check: {len(documents)} documents: {'good' if good else 'FAILED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
