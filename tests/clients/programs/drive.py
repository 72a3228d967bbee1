"""Runs the cases of one client, one after the other, as they are asked for on standard input.

    python drive.py PROGRAM VARIANT CHEAP_MODEL DEAR_MODEL

Each line of input is a case; each gets one line of JSON: what the client said, or how it failed. The
client is configured by nothing but the environment. `halt-` cases use the model that no budget fits.
"""

import asyncio
import importlib
import inspect
import json
import sys
import traceback

ASK = "hello"
CUT = "cut this short"


def run(loop, program, variant, case, cheap, dear):
    """What the client said in this case."""
    kind = case.removeprefix("halt-")
    function = getattr(program, f"{variant}_{'stream' if kind == 'cut' else kind}")
    said = function(dear if case.startswith("halt-") else cheap, CUT if kind == "cut" else ASK)
    return loop.run_until_complete(said) if inspect.iscoroutine(said) else said


def main():
    program_name, variant, cheap, dear = sys.argv[1:]
    out = sys.stdout
    # What frameworks print is not an answer.
    sys.stdout = sys.stderr
    # One loop for all cases: some clients keep connections of theirs for as long as the process lives.
    loop = asyncio.new_event_loop()
    program = importlib.import_module(program_name)
    for line in sys.stdin:
        case = line.strip()
        told = {"case": case, "said": None, "error": None}
        try:
            told["said"] = run(loop, program, variant, case, cheap, dear)
        except Exception as error:
            told["error"] = f"{type(error).__module__}.{type(error).__name__}: {error}"
            traceback.print_exc()
        print(json.dumps(told), file=out, flush=True)


if __name__ == "__main__":
    main()
