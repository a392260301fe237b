
# The stages of the manifest on the line, and after `STAGE@` its tasks.
function __fish_argd_pipe_targets
    set -l words (commandline -opc)
    set -l manifest (string match -r -- '.*\.ya?ml$' $words)[1]
    test -n "$manifest"; or return
    set -l targets ($words[1] complete-targets (string replace -r '^~' $HOME -- $manifest) 2> /dev/null)
    if string match -q -- '*@*' (commandline -ct)
        printf '%s\n' $targets
    else
        string match -v -- '*@*' $targets
    end
end
complete -c argd-pipe -n "__fish_seen_subcommand_from COMMANDS" -a "(__fish_argd_pipe_targets)"
