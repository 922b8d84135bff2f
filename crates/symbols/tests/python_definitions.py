"""What Python's own parser says of the sources of Python's own library.

For each file a line with its path, a tab and `parsed` or `refused`; below it, behind a tab, for each function and class
its word, qualified name, first and last line.
"""

import ast
import os
import sys
import sysconfig
import warnings

DEFINITIONS = {ast.ClassDef: "class", ast.FunctionDef: "function", ast.AsyncFunctionDef: "function"}


def definitions(tree):
    # A stack instead of ast.NodeVisitor: some test data nests as deeply as Python itself can read.
    below = [(tree, "")]
    while below:
        node, outer = below.pop()
        word = DEFINITIONS.get(type(node))
        if word:
            outer = f"{outer}.{node.name}" if outer else node.name
            first = min([node.lineno] + [decorator.lineno for decorator in node.decorator_list])
            yield word, outer, first, node.end_lineno
        below.extend((child, outer) for child in ast.iter_child_nodes(node))


def main():
    warnings.simplefilter("ignore")
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", errors="surrogateescape", newline="\n")
    for folder, folders, files in os.walk(sysconfig.get_paths()["stdlib"]):
        # Installed packages are not the library.
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        for path in (os.path.join(folder, file) for file in sorted(files) if file.endswith(".py")):
            try:
                with open(path, "rb") as file:
                    told = list(definitions(ast.parse(file.read())))
            except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
                print(path, "refused", sep="\t", file=out)
                continue
            print(path, "parsed", sep="\t", file=out)
            for word, name, first, last in told:
                print("", word, name, first, last, sep="\t", file=out)
    out.flush()


main()
