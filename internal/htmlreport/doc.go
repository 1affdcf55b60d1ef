// Package htmlreport writes edges and findings as one HTML page that needs no other file and no network.
//
// The text of the page is complete without JavaScript: the answer, the matrix of namespaces, the findings, the table of edges and what
// could not be known. The script adds filters, the matrix of workloads, and the pictures. Names from packets are hostile: they are
// escaped as by html/template, and by encoding/json, and characters that are invisible or reorder text are written as \xNN or \uNNNN.
//
// charts.min.js is built by bundle/build.sh.
package htmlreport
