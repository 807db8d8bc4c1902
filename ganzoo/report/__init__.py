"""Reports: run directories and benchmark files in; one HTML page, Markdown or JSON out."""
