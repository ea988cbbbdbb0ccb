"""
What shells are told of the tool: C{completion}.
"""

import click

from etcd_twisted.ctl.command import NAME, Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """
    Print a script that has a shell complete commands, options and keys.

    \b
    bash: eval "$(txetcdctl completion bash)"    in ~/.bashrc
    zsh:  eval "$(txetcdctl completion zsh)"     in ~/.zshrc
    fish: txetcdctl completion fish > ~/.config/fish/completions/txetcdctl.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click can't complete for {shell}")
    script = kind(ctx.find_root().command, {}, NAME, f"_{NAME.upper()}_COMPLETE")
    click.echo(script.source_template % script.source_vars())
