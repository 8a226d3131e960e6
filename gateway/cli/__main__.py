"""`python -m gateway.cli`, where the script is not installed."""

from gateway.cli.main import main

if __name__ == "__main__":
    main()
