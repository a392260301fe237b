
# The stages of the manifest on the line, and after `STAGE@` its tasks; else files.
_argd-pipe-targets() {
    local -a manifests targets
    manifests=(${(M)words:#*.(yaml|yml)})
    (( $#manifests )) || { _default; return }
    targets=(${(f)"$(argd-pipe complete-targets ${manifests[1]/#\~/$HOME} 2> /dev/null)"})
    [[ $PREFIX == *@* ]] || targets=(${targets:#*@*})
    compadd -- $targets
}
