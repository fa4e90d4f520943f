#!/usr/bin/env python3
"""Flags co_await statements of the shapes that g++ 12 miscompiles.

A co_await belongs in a statement of its own:
    co_await f(a);    auto x = co_await f(a);    x = co_await f(a);    co_return co_await f(a);
and its operand holds names, literals and calls only. Flagged: co_await in a condition, two in one
statement, and any of  {  [capture]  ?:  in the statement. Usage: lint_coawait.py FILE-OR-FOLDER...
"""
import os, re, sys

def blank(src):
    """Comments and literals replaced by spaces of the same length, so that offsets still hold."""
    pat = r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
    return re.sub(pat, lambda m: re.sub(r'[^\n]', ' ', m.group()), src, flags=re.S)

def start_of(src, i):
    """Offset just past the ; { or } that ends the statement before the one holding offset i."""
    depth = 0
    while i > 0:
        c = src[i - 1]
        if c in ')]': depth += 1
        elif c in '([': depth -= 1
        elif c in ';{}' and depth <= 0:
            # a { straight after  (  ,  =  or an identifier opens a braced value, not a block
            if c != '{' or not re.search(r'[(,=\w>]\s*$', src[:i - 1]) or re.search(r'\b(else|do|try)\s*$', src[:i - 1]):
                return i
        i -= 1
    return 0

def end_of(src, i):
    depth = 0
    while i < len(src):
        c = src[i]
        if c in '([{': depth += 1
        elif c in ')]}':
            if depth == 0: return i
            depth -= 1
        elif c == ';' and depth == 0: return i
        i += 1
    return i

def in_condition(head):
    """True when head ends inside the parentheses of an if, while, switch or for."""
    for m in re.finditer(r'\b(?:if|while|switch|for)\s*(?:constexpr\s*)?\(', head):
        rest = head[m.end():]
        depth = 1
        for c in rest:
            depth += (c == '(') - (c == ')')
            if depth == 0: break
        if depth: return True
    return False

def check(path):
    src, bad = blank(open(path, encoding='utf-8').read()), 0
    done = -1
    for m in re.finditer(r'(?<!operator )\bco_await\b', src):
        if m.start() < done: continue
        a, b = start_of(src, m.start()), end_of(src, m.end())
        done = b
        head, tail = src[a:m.start()], src[m.end():b]
        why = None
        if in_condition(head): why = 'in a condition'
        elif re.search(r'\bco_await\b', tail): why = 'two in one statement'
        elif '?' in head + tail: why = 'with ?:'
        elif '{' in tail or re.search(r'[\w>(,=]\s*\{', head): why = 'with a braced value'
        elif re.search(r'(?:^|[(,=\s])\[', tail): why = 'with a lambda'
        if why:
            print(f'{path}:{src.count(chr(10), 0, m.start()) + 1}: co_await {why}; name the value first')
            bad += 1
    return bad

def sources(root):
    """The C++ files below a folder, but for build trees."""
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in ('build', 'run') and not f.startswith('.')]
        yield from (os.path.join(folder, f) for f in sorted(files) if f.endswith(('.h', '.cpp')))

if __name__ == '__main__':
    paths = [p for arg in sys.argv[1:] for p in (sources(arg) if os.path.isdir(arg) else [arg])]
    sys.exit(1 if sum(check(p) for p in paths) else 0)
