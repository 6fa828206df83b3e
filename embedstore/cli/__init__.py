"""The command line: parse, call the Store, print. No other room imports click."""
