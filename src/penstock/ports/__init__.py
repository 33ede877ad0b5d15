"""The seam: Protocols that a broker's adapter fulfils and that the runtime is written against. No code runs here."""
