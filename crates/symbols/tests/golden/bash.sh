#!/usr/bin/env bash
# What this script is about.

set -euo pipefail
source ./lib.sh

readonly limit=8
# Not about what follows.

# About one.
# More.
one() {
  local x=1
  echo "$x"
}

two () { one; }; three() { two; }

function four {
  one
}

function five() {
  one | two
}

# About six.
function six ()
{
  (cd / && one)
}

in_a_subshell() (
  # Of the body.
  one
)

kebab-case() { :; }
snake_case() { :; } # behind it
+plus() { :; }
@at() { :; }
größe() { echo 1; }

log::info() {
  # No address has this name.
  inside_of_nothing() { :; }
  echo "$@"
}
lib.dotted() { :; }

outer() {
  # About inner.
  inner() {
    innermost() { :; }
    innermost
  }
  if [[ -n ${1:-} ]]; then
    conditional() { echo yes; }
  else
    conditional() { echo no; }
  fi
  inner "$@"
}

redirected() {
  echo out
  echo err
} >&2

# About both.
both_redirected() { echo; } >/dev/null 2>&1

heredoc() {
  cat <<EOF
not_a_function() {
  $(command_in_a_heredoc)
}
EOF
  cat <<-'END'
	also_not() { :; }
	END
}

after_heredoc() { cat <<< "here() { :; }"; }

case ${1:-} in
  start)
    started() { :; }
    ;;
  # About stopped.
  stop) stopped() { :; } ;;
esac

while read -r line; do
  of_a_loop() { echo "$line"; }
done < <(of_a_process() { :; }; of_a_process)

[[ -f x ]] && guarded() { :; }
defined() { :; } || fallback() { :; }

if_body() if true; then echo; fi
# About the test.
test_body() [[ -n $1 ]]
arithmetic_body() (( $1 > 0 ))
declare -A table=([key]=value)

text='quoted() { :; }'
double="also_quoted() { $(substituted() { :; }; substituted) }"

comment_inside() {
  : # fine
  # the last thing in it
}

# Far above.

continued() { echo a \
  b; }

{
  grouped() { :; }
}

( subshelled() { :; } )

function function-with-dash { :; }

export -f one
trap cleanup EXIT

# About cleanup.
cleanup() {
  rm -f "$tmp"
}

main() {
  case "$1" in
    a | b) helper() { :; } ;;
    *) usage >&2; exit 1 ;;
  esac
}

main "$@"
