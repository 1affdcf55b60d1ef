#!/usr/bin/env bash
# Scores a tap on captures with known truth. They are not part of the repository, but in a folder beside it.
#   tools/corpus.sh TAP FOLDER     FOLDER has corpus/score.py and tls13/score.py
# Fails if the score is below CORPUS_FLOOR (corpus), if a client's authentication is judged wrong (tls13), if a set of attacks
# (cases, stacks, review/redteam) has a harmful verdict or a score below its floor, or if a rule fires where it must not, or does not where
# it must (test/rules). With tshark, it also derives again where rules must fire, and fails if that differs from test/rules/expected.tsv.
set -euo pipefail
tap=$1 folder=$2
if [ ! -e "$folder/corpus/score.py" ]; then
	echo "corpus: no captures at $folder/corpus: nothing to score"
	exit 0
fi

# score.py exits with an error unless every check passes, so its exit status is ignored: only the floor counts.
out=$(python3 "$folder/corpus/score.py" "$tap" || true)
echo "$out"
awk -v floor="${CORPUS_FLOOR:-0.99}" '
	/^macro score/ { score = $3; seen = 1 }
	END { if (!seen || score < floor) { print "corpus: below the floor of " floor; exit 1 } }' <<<"$out"

[ ! -e "$folder/tls13/score.py" ] || python3 "$folder/tls13/score.py" "$tap"

# scored NAME FLOOR COMMAND...: the last line of the command's output has the number of harmful or wrong verdicts, and ends with the share
# of right ones.
scored() {
	local name=$1 floor=$2 out
	shift 2
	if [ ! -e "$2" ]; then
		echo "corpus: no $name at $2"
		return
	fi
	out=$("$@" || true)
	echo "$name:"
	tail -8 <<<"$out"
	awk -v name="$name" -v floor="$floor" '
		{ line = $0 }
		END { clean = line ~ /(^|, )0 (wrong|harmful)[,; ]/; share = line; sub(/.*: */, "", share)
			if (!clean || share !~ /^[01]\.[0-9]+$/ || share + 0 < floor) { print "corpus: " name ": something is wrong, or below the floor of " floor; exit 1 } }' <<<"$out"
}
scored cases 0.95 python3 "$folder/cases/score.py" "$tap"
scored stacks 0.97 python3 "$folder/stacks/score.py" "$tap" --loss
scored evasions 0.9 python3 "$folder/review/redteam/evade_score.py" "$tap"

rules=$(dirname "$0")/../test/rules
python3 -B "$rules/score.py" "$tap" "$folder"
if command -v tshark >/dev/null; then
	# without the reasons, which have tshark's words
	python3 -B "$rules/truth.py" "$folder" | cut -f1-5 | diff <(cut -f1-5 "$rules/expected.tsv") - ||
		{ echo "corpus: tshark and the truth files show something other than test/rules/expected.tsv: see test/rules/README.md"; exit 1; }
else
	echo "corpus: test/rules/expected.tsv is not derived again: tshark is missing"
fi
