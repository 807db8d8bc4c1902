"""`python -m ganzoo`, and the `ganzoo` command: the same."""

import sys


def main() -> None:
    """Run the command. Ctrl-C while it is still being loaded prints no traceback either."""
    try:
        from ganzoo.cli import main as run
    except KeyboardInterrupt:
        print("error: stopped by SIGINT", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
