#!/bin/sh
# An agent of a shell and curl: it asks a model twice, and writes a report. It knows nothing of wflo.
set -eu

ask() {
    curl --silent --show-error --fail-with-body "$OPENAI_BASE_URL/chat/completions" \
        --header "authorization: Bearer $OPENAI_API_KEY" --header "content-type: application/json" \
        --data "{\"model\": \"$model\", \"max_tokens\": 50, \"messages\": [{\"role\": \"user\", \"content\": \"$1\"}]}"
}

model=$1
mkdir -p seen
ask "what is the weather?" >seen/Paris.txt
answer=$(ask "write it down: sunny")
printf '# Report\n\n%s\n' "$answer" >report.md
rm old.md
printf '%s\n' "$answer"
