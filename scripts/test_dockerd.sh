#!/bin/sh
# A Docker daemon for tests: its own folder, its own socket, no network. Prints the address, and ends the
# daemon and removes the folder when standard input ends, however whoever holds that ends.
# gVisor is known to it as `runsc` where that is on the PATH. Needs root and dockerd (apt-get install docker.io).
set -eu
for tool in dockerd containerd; do
  command -v "$tool" >/dev/null || { echo "error: there is no $tool: apt-get install docker.io" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "error: a Docker daemon needs root" >&2; exit 1; }
# In a mount namespace of its own: what it mounts is nobody else's, and goes with it.
if [ -z "${WFLO_OWN_MOUNTS:-}" ]; then
  WFLO_OWN_MOUNTS=yes exec unshare --mount --propagation private "$0"
fi
folder=$(mktemp -d /tmp/wflo-dockerd-XXXXXX)
runsc=$(command -v runsc || true)
if [ -n "$runsc" ]; then
  printf '{"runtimes": {"runsc": {"path": "%s"}}}\n' "$runsc" >"$folder/daemon.json"
else
  echo '{}' >"$folder/daemon.json"
fi
dockerd --config-file "$folder/daemon.json" --data-root "$folder/data" --exec-root "$folder/exec" \
  --pidfile "$folder/pid" --host "unix://$folder/docker.sock" --bridge none --iptables=false --ip6tables=false \
  >"$folder/log" 2>&1 </dev/null &
daemon=$!
end() {
  kill "$daemon" 2>/dev/null || true
  wait "$daemon" 2>/dev/null || true
  # The folders that it mounted over itself cannot be removed before they are let go of.
  awk -v folder="$folder/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap end EXIT
trap 'exit 1' HUP INT TERM
tries=0
until grep -q 'API listen on' "$folder/log"; do
  tries=$((tries + 1))
  if [ "$tries" -gt 600 ] || ! kill -0 "$daemon" 2>/dev/null; then
    echo "error: dockerd did not come up:" >&2
    tail -n 5 "$folder/log" >&2
    exit 1
  fi
  sleep 0.05
done
echo "unix://$folder/docker.sock"
cat >/dev/null
