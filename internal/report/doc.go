// Package report prints results: the summary of a run as text, a comparison as text or JSON.
//
// Order of use: [Text] writes the summary of a finding.Engine, [Live] draws it on a screen again and again. [Migration] and [MigrationJSON] write the
// result of migration.Compare. Names come from the wire, so characters that a terminal interprets or does
// not show are escaped.
package report
