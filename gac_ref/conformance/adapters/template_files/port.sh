#!/bin/sh
# A port as a program of any language: a JSON object a line in, one a line out, flushed.
# Check it with `gac-ref check 'stdio: sh port.sh'`. What is for a person goes to stderr.
who='"protocol": 1, "name": "my port", "version": "0.1"'
claims='"stages": ["clip"], "dtypes": ["fp64"], "arrays": "lists"'

field() { # the value of the first field of that name in $line, without quotes
  printf '%s\n' "$line" | sed -n "s/[^{]*{.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p"
}

clip() { # all 17 digits, so that no bit is lost; a NaN stays one, and was not clipped
  awk -v x="$1" -v low="$2" -v high="$3" 'BEGIN {
    sub(/Infinity/, "1e308", x)
    if (x == "NaN") { printf "{\"mu\": \"NaN\", \"mu_clipped\": false}"; exit }
    mu = x + 0 < low + 0 ? low + 0 : x + 0 > high + 0 ? high + 0 : x + 0
    printf "{\"mu\": %.17g, \"mu_clipped\": %s}", mu, mu == x + 0 ? "false" : "true"
  }'
}

while read -r line; do
  reply='"ok": {}'
  case $(field call) in
    hello) reply="\"ok\": {$who, $claims}" ;;
    configure) mu_min=$(field mu_min) mu_max=$(field mu_max) ;;
    run)
      case $(field stage) in
        clip) reply="\"ok\": $(clip "$(field mu_capped)" "$mu_min" "$mu_max")" ;;
        *) reply="\"unsupported\": \"not written yet\"" ;;
      esac ;;
    stop) exit 0 ;;
  esac
  printf '{"id": %s, %s}\n' "$(field id)" "$reply"
done
