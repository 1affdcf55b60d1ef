// Package ocsf encodes a published record as an event of the Open Cybersecurity Schema Framework (OCSF), version 1.6.0
// (https://schema.ocsf.io/1.6.0). [Append] is the only function.
//
// Each kind of record has one class of events:
//
//	meshtls.finding   Detection Finding (2004)
//	meshtls.posture   Network Activity (4001), activity Traffic
//	meshtls.flow      Network Activity (4001), by the state in which the connection ended
//	meshtls.tap       Application Lifecycle (6002)
//
// OCSF has no attributes for much of a record. Its object unmapped has that data, with the names of the record: always the whole
// object meshtls. Times are milliseconds, as OCSF requires. No other value of a record is lost. An attribute whose value is unknown is absent, except where
// OCSF requires it.
package ocsf
