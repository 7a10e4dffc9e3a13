# Ends what a test process leaves behind. It reads what that is, a line each, until the test process is gone, however it
# went: the kernel then closes the pipe. A process is known by its start time too, as numbers are used again.
#
#   process PID STARTTIME     killed
#   plane DIR                 stopped by $KUBE_DOWN
#   folder DIR                removed, last
processes=() planes=() folders=()
while IFS= read -r line; do
  case $line in
    "process "*) processes+=("${line#process }") ;;
    "plane "*) planes+=("${line#plane }") ;;
    "folder "*) folders+=("${line#folder }") ;;
  esac
done
starttime() { local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; s=${s##*) }; set -- $s
  [ "$1" != Z ] || return 1; echo "${20}"; }
for entry in "${processes[@]}"; do
  read -r pid started <<<"$entry"
  if [ "$(starttime "$pid")" = "$started" ]; then kill -KILL "$pid"; fi
done
for plane in "${planes[@]}"; do [ ! -d "$plane" ] || "$KUBE_DOWN" --data "$plane" --now --quiet; done
for folder in "${folders[@]}"; do rm -rf -- "$folder"; done
