// Package report shows what a run has seen: as text for a person; a comparison also as JSON for a program.
//
// [Text] takes the summary of a finding.Engine, [Migration] and [MigrationJSON] the result of migration.Compare. Names in it come from the
// wire: what a terminal would not show as itself is escaped.
package report
