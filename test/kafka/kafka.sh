#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Apache Kafka broker on loopback, for tests: one node, KRaft, from the jars in pom.xml,
# which Maven fetches from its configured repositories.
#
#   kafka.sh resolve                    fetch the jars into the cache, and prepare a quick start (once)
#   kafka.sh resolved                   fail unless resolve has run
#   kafka.sh start WORKDIR [plain|tls]  start a broker and wait until it serves; WORKDIR
#                                       keeps its data and ports for the next start
#   kafka.sh topics WORKDIR             create the topics meshtls-tap.{findings,posture,flows}
#   kafka.sh stop WORKDIR               SIGTERM, wait
#   kafka.sh kill WORKDIR               SIGKILL, wait (a stopped process too)
#   kafka.sh tool CLASS [ARG...]        run a tool, such as org.apache.kafka.tools.TopicCommand
#
# start writes WORKDIR/env, lines to be sourced or parsed:
#   PID, PLAIN (host:port, no TLS, no login), and with tls: TLS (host:port, SASL_SSL with
#   PLAIN, SCRAM-SHA-256 and -512, user "tap", password SCRAM_PASSWORD) and CA (PEM file);
#   ALIAS (host:port of a listener, in the order of ALIASES).
#
# Environment: KAFKA_CACHE (default ${XDG_CACHE_HOME:-~/.cache}/meshtls-tap/kafka),
#   HEAP (128m), PARTITIONS (3), SCRAM_PASSWORD (tap-secret), CLIENT_AUTH (none, required),
#   ADDRESS (127.0.0.1) of the listeners, MAVEN_REPO (Maven's local repository),
#   OWNER (a process id: when that process is gone, the broker is killed and WORKDIR removed),
#   ADVERTISE (host:port that the listener without TLS advertises),
#   ALIASES (host[:port] ...: a further listener without TLS for each, which advertises it),
#   JOIN (WORKDIR of the first broker: this one joins its cluster) with NODE (2, 3, ...),
#   JWKS (file of JSON Web Keys: OAUTHBEARER accepts tokens for audience "kafka" signed by them),
#   AUTHORIZE (not empty: the ACLs of topics that have some are effective; clients without login are superusers),
#   PROPERTIES (further lines of server.properties).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
address=${ADDRESS:-127.0.0.1}
cache=${KAFKA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshtls-tap/kafka}
heap=${HEAP:-128m}
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
libs=$cache/$version
# Serial collector and first compiler only: the JVM starts sooner and needs less memory.
# No performance counters: SIGKILL would leave their file in /tmp.
small=(-Xlog:disable -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xss512k -XX:-UsePerfData)
case $address in
  *:*) bracketed="[$address]" ;;
  *) bracketed=$address small+=(-Djava.net.preferIPv4Stack=true) ;;
esac
# An archive of a broker's loaded classes (CDS): with it the broker starts in two thirds of the CPU time. Each version of Java has
# its own archive, and ignores one that does not fit.
archive=$libs/classes-$(cksum < <(java=$(readlink -f "$(command -v java || true)"); echo "$java"; cat "${java%/bin/java}/release" 2>/dev/null; cat "$here/pom.xml") | cut -d' ' -f1).jsa
classes=(-XX:SharedArchiveFile="$archive")
patience=3000 # tenths of a second for a broker to start or end: the machine may be busy
secured=$bracketed
[ "$address" != 127.0.0.1 ] || secured=localhost

die() { echo "kafka.sh: $*" >&2; exit 1; }

# need PROGRAM PACKAGE... installs missing packages, or prints how to.
need() {
  local missing=() packages=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null || { missing+=("$1"); packages+=("$2"); }
    shift 2
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "kafka.sh: installing ${packages[*]}" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >&2 && return
  fi
  die "missing: ${missing[*]}; on Debian or Ubuntu: apt-get install ${packages[*]}"
}

resolve() {
  local stamp
  stamp=$(cksum <"$here/pom.xml")
  mkdir -p "$libs"
  exec 9>"$libs.lock"
  flock 9 # two checkouts may resolve at the same time
  [ "$(cat "$libs/.stamp" 2>/dev/null)" != "$stamp" ] || { prepare; return; }
  need java default-jre-headless mvn maven
  echo "kafka.sh: fetching Apache Kafka $version into $libs (about 60 MB)" >&2
  mvn -q -B -Dstyle.color=never ${MAVEN_REPO:+-Dmaven.repo.local="$MAVEN_REPO"} -f "$here/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$libs" || die "Maven could not fetch the jars: see above; without a network, fill $libs from another machine"
  rm -f "$libs"/*.jsa
  echo "$stamp" >"$libs/.stamp"
  prepare
}

# prepare makes a broker write the archive of its classes when it ends. Everything works without it too.
prepare() (
  [ ! -e "$archive" ] || exit 0
  echo "kafka.sh: preparing a quick start (once for this Java)" >&2
  w=$(mktemp -d)
  trap 'rm -rf "$w"' EXIT
  classes=(-XX:ArchiveClassesAtExit="$w/classes.jsa")
  mode=plain
  ! command -v openssl >/dev/null || mode=tls
  { start "$w" "$mode" && end TERM "$w"; } >/dev/null 2>"$w/log" && mv "$w/classes.jsa" "$archive" ||
    { tail -n 3 "$w/log" >&2; : >"$archive"; } # prevents another attempt
)

resolved() {
  need java default-jre-headless
  [ -f "$libs/.stamp" ] || die "no jars in $libs: run $here/kafka.sh resolve"
}

tool() { java -Xmx128m "${small[@]}" "${classes[@]}" -Djava.io.tmpdir="${TMPDIR:-/tmp}" -Dlog4j2.configurationFile="$here/log4j2-tools.properties" -cp "$libs/*" "$@"; }

# freeport prints a port below the ephemeral range that nobody listens on.
freeport() {
  local p a
  while :; do
    p=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
    for a in 127.0.0.1 "$address"; do
      (exec 3<>"/dev/tcp/$a/$p") 2>/dev/null && continue 2
    done
    echo "$p"
    return
  done
}

# authority creates a CA and the broker's key and certificate, as the PEM keystore that Kafka reads.
authority() {
  local t=$1/tls
  [ -s "$t/keystore.pem" ] && return
  mkdir -p "$t"
  local ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  {
    openssl req -x509 "${ec[@]}" -days 30 -keyout "$t/ca.key" -out "$t/ca.pem" -subj "/CN=Kafka test CA"
    openssl req -new "${ec[@]}" -keyout "$t/broker.key" -out "$t/broker.csr" -subj "/CN=localhost"
    printf 'subjectAltName=DNS:localhost,IP:%s\n' "$address" >"$t/extensions"
    openssl x509 -req -in "$t/broker.csr" -CA "$t/ca.pem" -CAkey "$t/ca.key" -CAcreateserial -days 30 \
      -extfile "$t/extensions" -out "$t/broker.pem"
  } 2>"$t/openssl.log" || { cat "$t/openssl.log" >&2; die "openssl failed"; }
  cat "$t/broker.key" "$t/broker.pem" >"$t/keystore.pem"
}

# configure WORKDIR MODE PORT CONTROLLERPORT TLSPORT [ALIASPORT...]
configure() {
  local w=$1 sasl="" advertised="" map="" roles=broker,controller controller=",CONTROLLER://127.0.0.1:$4" quorum=$4
  if [ "$2" = tls ]; then
    sasl=",SASL://$bracketed:$5" advertised=",SASL://$secured:$5" map=",SASL:SASL_SSL"
  fi
  local alias n=5
  for alias in ${ALIASES:-}; do
    local port=${*:$((++n)):1}
    case $alias in *:*) ;; *) alias+=:$port ;; esac
    sasl+=",ALIAS$n://$bracketed:$port" advertised+=",ALIAS$n://$alias" map+=",ALIAS$n:PLAINTEXT"
  done
  if [ -n "${JOIN:-}" ]; then
    roles=broker controller="" quorum=$(cut -d' ' -f2 "$JOIN/ports")
  fi
  cat >"$w/server.properties" <<P
process.roles=$roles
node.id=${NODE:-1}
controller.quorum.bootstrap.servers=127.0.0.1:$quorum
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners=PLAIN://$bracketed:$3$controller$sasl
advertised.listeners=PLAIN://${ADVERTISE:-$bracketed:$3}$advertised
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT$map
log.dirs=$w/data
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=2097152
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After SIGKILL the controller waits until the dead broker's session expires, so it must be short.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
P
  [ "$2" != tls ] || secure "$w" >>"$w/server.properties"
  if [ -n "${AUTHORIZE:-}" ]; then
    cat >>"$w/server.properties" <<P
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
P
  fi
  printf '%s\n' "${PROPERTIES:-}" >>"$w/server.properties"
}

# secure WORKDIR prints the settings of the listener with TLS and login.
secure() {
  local w=$1 m mechanisms="PLAIN,SCRAM-SHA-256,SCRAM-SHA-512" name=listener.name.sasl password=${SCRAM_PASSWORD:-tap-secret}
  [ -z "${JWKS:-}" ] || mechanisms+=",OAUTHBEARER"
  cat <<P
sasl.enabled.mechanisms=$mechanisms
$name.sasl.enabled.mechanisms=$mechanisms
$name.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
$name.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
$name.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tap="$password";
$name.ssl.keystore.type=PEM
$name.ssl.keystore.location=$w/tls/keystore.pem
$name.ssl.truststore.type=PEM
$name.ssl.truststore.location=$w/tls/ca.pem
$name.ssl.client.auth=${CLIENT_AUTH:-none}
P
  # The default validator of Kafka 4.1.1 checks no signature in the broker: it would accept a token of any issuer.
  [ -z "${JWKS:-}" ] || cat <<P
$name.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
$name.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
$name.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=file://$JWKS
$name.oauthbearer.sasl.oauthbearer.expected.audience=kafka
sasl.oauthbearer.jwt.validator.class=org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator
$name.oauthbearer.connections.max.reauth.ms=${MAX_REAUTH:-0}
P
}

format() {
  local w=$1 id scram=(--standalone)
  [ -f "$w/data/meta.properties" ] && return
  id=$(head -c16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)
  if [ -n "${JOIN:-}" ]; then
    id=$(sed -n 's/^cluster.id=//p' "$JOIN/data/meta.properties") scram=(--no-initial-controllers)
  elif [ "$2" = tls ]; then
    for m in 256 512; do scram+=(-S "SCRAM-SHA-$m=[name=tap,password=${SCRAM_PASSWORD:-tap-secret}]"); done
  fi
  tool kafka.tools.StorageTool format --cluster-id="$id" -c "$w/server.properties" "${scram[@]}" >"$w/format.log" 2>&1 ||
    { cat "$w/format.log" >&2; die "the storage could not be formatted"; }
}

# running PID WORKDIR succeeds if that process is still the broker of WORKDIR.
running() {
  kill -0 "$1" 2>/dev/null || return 1
  [ ! -r "/proc/$1/cmdline" ] || tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$2/server.properties"
}

# launch WORKDIR PORT starts the broker, and fails if the broker ends before it serves.
launch() {
  local w=$1 seen pid i
  : >>"$w/broker.log"
  mkdir -p "$w/tmp" # a killed broker leaves the libraries there that its codecs have unpacked
  seen=$(wc -c <"$w/broker.log")
  setsid java -Xms"$heap" -Xmx"$heap" "${small[@]}" "${classes[@]}" -XX:MaxMetaspaceSize=128m -XX:ReservedCodeCacheSize=48m \
    ${JWKS:+-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="file://$JWKS"} \
    -Djava.io.tmpdir="$w/tmp" -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$libs/*" kafka.Kafka "$w/server.properties" \
    >>"$w/broker.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$w/pid"
  if [ -n "${OWNER:-}" ]; then # also after Ctrl-C or SIGKILL
    setsid bash -c 'while kill -0 "$0" && kill -0 "$1"; do sleep 1; done; kill -9 "$1"; kill -0 "$0" || rm -rf "$2"' \
      "$OWNER" "$pid" "$w" >/dev/null 2>&1 </dev/null &
  fi
  for ((i = 0; i < patience; i++)); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$w/pid"; return 1; }
    tail -c "+$((seen + 1))" "$w/broker.log" | grep -q 'Kafka Server started' &&
      (exec 3<>"/dev/tcp/$address/$2") 2>/dev/null && return 0
    sleep 0.1
  done
  kill -9 "$pid"
  rm -f "$w/pid"
  return 1
}

start() {
  local w mode=${2:-plain} try ports alias
  w=$(mkdir -p "$1" && cd "$1" && pwd)
  resolved
  if [ -s "$w/pid" ] && running "$(cat "$w/pid")" "$w"; then cat "$w/env"; return; fi
  case $mode in
    plain) ;;
    tls) need openssl openssl; authority "$w" ;;
    *) die "start: \"$mode\": expected plain or tls" ;;
  esac
  for try in 1 2 3; do
    if [ ! -s "$w/ports" ]; then
      for alias in 1 2 3 ${ALIASES:-}; do freeport; done | xargs >"$w/ports"
    fi
    read -ra ports <"$w/ports"
    configure "$w" "$mode" "${ports[@]}"
    format "$w" "$mode"
    if launch "$w" "${ports[0]}"; then
      {
        echo "PID=$(cat "$w/pid")"
        echo "PLAIN=$bracketed:${ports[0]}"
        if [ "$mode" = tls ]; then echo "TLS=$secured:${ports[2]}"; echo "CA=$w/tls/ca.pem"; fi
        for ((try = 3; try < ${#ports[@]}; try++)); do echo "ALIAS=$bracketed:${ports[try]}"; done
      } >"$w/env"
      cat "$w/env"
      return
    fi
    # Another process has taken a port meanwhile: choose others, unless clients already know these.
    [ ! -f "$w/env" ] && grep -q 'Address already in use' "$w/broker.log" || break
    rm -rf "$w/ports" "$w/data" "$w/broker.log"
  done
  tail -n 20 "$w/broker.log" >&2
  die "the broker did not start: see $w/broker.log"
}

topics() {
  local w plain t pids=()
  w=$(cd "$1" && pwd)
  resolved
  plain=$(sed -n 's/^PLAIN=//p' "$w/env")
  for t in findings posture flows; do
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$plain" --create --if-not-exists \
      --topic "meshtls-tap.$t" --partitions "${PARTITIONS:-3}" --replication-factor 1 2>&1 |
      { grep -v 'period.*underscore' || true; } >&2 &
    pids+=($!)
  done
  for t in "${pids[@]}"; do wait "$t" || die "the topics could not be created"; done
}

# end SIGNAL WORKDIR ends the broker with SIGNAL and waits for it.
end() {
  local w pid i
  w=$(cd "$2" && pwd)
  [ -s "$w/pid" ] || return 0
  pid=$(cat "$w/pid")
  running "$pid" "$w" && kill "-$1" "$pid"
  for ((i = 0; i < patience; i++)); do
    running "$pid" "$w" || { rm -f "$w/pid"; return 0; }
    sleep 0.1
  done
  die "still running: $pid"
}

usage() { sed -n '/^#   kafka.sh/,/^$/{/^#/p}' "$0" | cut -c3- >&2; exit 2; }

case "${1:-} $#" in
  "resolve 1") resolve ;;
  "resolved 1") resolved ;;
  "start 2" | "start 3") shift; start "$@" ;;
  "topics 2") topics "$2" ;;
  "stop 2") end TERM "$2" ;;
  "kill 2") end KILL "$2" ;;
  "tool "*) [ $# -ge 2 ] || usage; shift; resolved; tool "$@" ;;
  *) usage ;;
esac
