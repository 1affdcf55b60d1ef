// Package schematest validates records in tests.
//
// Order of use: [Check] for one record, [Lines] for the output of a tap. Both fail the test for each record that does not
// conform to the published schema, or to its strict form, which [Schemas] describes. They may be called by several
// goroutines at the same time.
package schematest
