package protocols

// Recognizers of medicine: HL7 and DICOM.

// hl7Message recognizes the beginning of a message of HL7 in its framing, MLLP.
func hl7Message(b []byte) Match { return prefix(b, "\x0bMSH|") }

// dicomAssociation recognizes a request for an association, or its acceptance (DICOM part 8, section 9.3).
func dicomAssociation(b []byte) Match {
	if b[0] != 1 && b[0] != 2 || len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] != 0 {
		return No
	}
	switch {
	case len(b) > 6 && b[6] != 0, len(b) > 7 && b[7] != 1, len(b) > 8 && b[8] != 0, len(b) > 9 && b[9] != 0, len(b) > 10 && !printable(b[10:min(len(b), 42)]):
		return No
	case len(b) < 42:
		return More
	}
	return Yes
}
