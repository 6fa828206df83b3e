"""De-identification: DICOM PS3.15 Annex E, keyed pseudonyms, burned-in text, and the gate of a store."""
