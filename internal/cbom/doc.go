// Package cbom writes the cryptography that was seen in a capture as a CycloneDX CBOM (Cryptography Bill of Materials), version 1.6:
// https://cyclonedx.org/docs/1.6/json/. Only what was seen is listed. The document says that it is incomplete, since a capture is
// a sample.
//
// The types of the document have only the members that are used. The CycloneDX library for Go would add 704 KB to the tap.
package cbom
