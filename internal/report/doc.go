// Package report prints results: the summary of a run as text, a comparison as text or JSON.
//
// [Text] takes the summary of a finding.Engine, [Migration] and [MigrationJSON] the result of migration.Compare. Names in it come from the
// wire: what a terminal would not show as itself is escaped.
package report
