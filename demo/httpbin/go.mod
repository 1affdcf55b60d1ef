// The server of the walk-through, pinned here and kept out of the product's own modules.
module github.com/meshtls-tap/meshtls-tap/demo/httpbin

go 1.26.0

tool github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin

require github.com/mccutchen/go-httpbin/v2 v2.26.0 // indirect
