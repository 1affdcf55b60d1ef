module github.com/meshtls-tap/meshtls-tap

go 1.26
