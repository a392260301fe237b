
# The stages of the manifest on the line, and after `STAGE@` its tasks.
_argd__pipe_targets() {
    _argd__pipe "$@"
    local word="${COMP_LINE:0:COMP_POINT}" command="" manifest="" target i
    word="${word##*[[:space:]]}"
    [[ $word == -* || $3 == -* ]] && return
    for i in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$i" in
            COMMANDS) command="${command:-$i}" ;;
            *.yaml | *.yml) manifest="${manifest:-$i}" ;;
        esac
    done
    [[ -n $command && -n $manifest ]] || return
    COMPREPLY=()
    while read -r target; do
        [[ $target == *@* && $word != *@* ]] && continue
        # Only `$2` is to be replaced: for bash, a word begins at `@` and after `=`, too.
        [[ $target == "$word"* ]] && COMPREPLY+=("${target#"${word%"$2"}"}")
    done < <("$1" complete-targets "${manifest/#\~/$HOME}" 2> /dev/null)
}
complete -F _argd__pipe_targets -o bashdefault -o default argd-pipe
