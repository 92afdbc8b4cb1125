# The options or commands of a --help as a list of a manual page: lines "  NAME  text", and lines that go on with a text.
function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text ~ /^[.']/ ? "\\&" text : text
}

/^                    / {
    sub(/^ +/, "")
    print plain($0)
    next
}

/^  [^ ]/ {
    sub(/^ +/, "")
    name = $0
    text = ""
    if (match($0, /   */)) {
        name = substr($0, 1, RSTART - 1)
        text = substr($0, RSTART + RLENGTH)
    }
    print ".TP\n.B " plain(name)
    if (text != "") print plain(text)
}
