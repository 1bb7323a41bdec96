"""`dptt doctor`: what is installed, what it gives, what is missing, and how to get it."""

from dptt.runtime.installation import findings

MARKS = {"ok": "+", "missing": "-", "broken": "!"}


def doctor() -> int:
    """Print a line for every part of the installation; return 1 if dptt cannot run, else 0."""
    found = findings()
    width = max(len(finding.part) for finding in found)
    for finding in found:
        print(f"{MARKS[finding.verdict]} {finding.part:{width}}  {finding.found}: {finding.gives}")
        if finding.cure:
            print(f"  {'':{width}}  to get it: {finding.cure}")
    broken = [finding.part for finding in found if finding.needed and finding.verdict != "ok"]
    faulty = [finding.part for finding in found if finding.verdict == "broken" and not finding.needed]
    if broken:
        print(f"\ndptt cannot run: {', '.join(broken)} missing or broken")
    elif faulty:
        print(f"\ndptt runs; {', '.join(faulty)} could be better")
    else:
        print("\ndptt runs. + is here, - is not; what is not here is optional")
    return 1 if broken else 0
