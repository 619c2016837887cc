"""The page's style sheet: one column on a phone, a grid on a desk, light or dark as the reader's system is."""

from __future__ import annotations

from experiments.html_report.palette import CURVES, DARK, LIGHT

__all__ = ["style"]


def style() -> str:
    """The whole style sheet."""
    curves = "".join(f".c{index}{{stroke:var(--c{index})}}.f{index}{{fill:var(--c{index})}}" for index in range(CURVES))
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
        + "".join(line.strip() for line in _RULES.splitlines())
        + curves
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


_RULES = """
*,*::before,*::after{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--page);color:var(--ink);
 font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
header,main,footer{max-width:66rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:clamp(1.5rem,1.2rem + 1.6vw,2.2rem);line-height:1.2;margin:.2rem 0 .6rem}
h2{font-size:1.3rem;line-height:1.3;margin:2.6rem 0 .7rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{font-size:1.05rem;line-height:1.35;margin:1.4rem 0 .4rem}
p{margin:.5rem 0;max-width:46rem}
ul.plain{margin:.5rem 0;padding-left:1.2rem;max-width:46rem}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:2px}
.skip{position:absolute;left:-100vw;top:0;background:var(--page);color:var(--link);padding:.6rem 1rem;z-index:2}
.skip:focus{left:0}
.kind{color:var(--soft);margin:0;font-size:.95rem}
.lead{font-size:1.1rem;max-width:46rem}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:1rem 0 0;padding:0}
nav a{display:inline-block;padding:.35rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,9.5rem),1fr));
 gap:.8rem;margin:1rem 0;padding:0}
.tile{background:var(--card);border-radius:.6rem;padding:.8rem 1rem;margin:0}
.tile dt{color:var(--soft);font-size:.9rem;line-height:1.3}
.tile dd{margin:.2rem 0 0;font-size:1.45rem;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}
.tile dd.more{font-size:.9rem;font-weight:400;line-height:1.4;color:var(--soft)}
.good{color:var(--good)}
.bad{color:var(--bad)}
.box{border-left:.35rem solid var(--alert-edge);background:var(--alert);color:var(--alert-ink);
 border-radius:.3rem;padding:.7rem 1rem;margin:1.2rem 0}
.box.danger{border-color:var(--danger-edge);background:var(--danger);color:var(--danger-ink)}
.box h2,.box h3{margin:0 0 .3rem;border:0;padding:0;font-size:1.1rem}
.box ul,.box ol{margin:.3rem 0;padding-left:1.3rem}
.box li{margin:.3rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr));gap:1rem;margin:1rem 0}
.card{background:var(--card);border-radius:.6rem;padding:1rem}
.card h3{margin:0}
.card .big{font-size:1.6rem;font-weight:650;margin:.2rem 0;line-height:1.2;font-variant-numeric:tabular-nums}
.card p{margin:.4rem 0}
figure{margin:0;background:var(--card);border-radius:.6rem;padding:.9rem;min-width:0}
figure h3{margin:0 0 .2rem}
figcaption p{margin:.2rem 0 .5rem;font-size:.95rem;color:var(--soft)}
.figures{display:grid;align-items:start;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));
 gap:1rem;margin:1rem 0}
svg{display:block;width:100%;height:auto}
figure>svg{max-width:28rem}
svg text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .axis{stroke:var(--edge);stroke-width:1}
svg .curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .rule{stroke:var(--edge);stroke-width:1.5}
svg .whisker{stroke-width:1.5}
svg .spread{opacity:.16}
.key{list-style:none;margin:.5rem 0 0;padding:0;display:grid;gap:.2rem;font-size:.95rem}
.key li{display:flex;gap:.5rem;align-items:flex-start}
.key svg{flex:none;width:2.2rem;height:1.45rem}
.bars{margin:.6rem 0 0;padding:0;list-style:none;display:grid;gap:.6rem}
.bars .name{display:flex;justify-content:space-between;gap:1rem;font-size:.95rem;margin:0}
.bars .value{font-variant-numeric:tabular-nums;flex:none}
details{margin:.6rem 0}
summary{cursor:pointer;color:var(--link);padding:.3rem 0}
.scroll{overflow-x:auto;margin:.8rem 0;border-radius:.3rem;
 background:linear-gradient(to left,var(--page) 40%,transparent) right/2.5rem 100% no-repeat local,
 linear-gradient(to left,var(--line),transparent) right/1rem 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.95rem;min-width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.2rem 0 .5rem;caption-side:top}
caption span{display:block;max-width:min(46rem,100vw - 4rem);position:sticky;left:0}
figure caption span{max-width:min(26rem,100vw - 5rem)}
th,td{padding:.4rem .7rem .4rem 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);
 overflow-wrap:normal}
th:first-child,td:first-child,.words td,.words th{text-align:left}
td:last-child,th:last-child{padding-right:.2rem}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
td{white-space:nowrap}
tbody th{font-weight:600;min-width:6.5rem;max-width:15rem;overflow-wrap:break-word}
.wide tr>:first-child{position:sticky;left:0;background:var(--page);padding-right:.9rem}
.words td{overflow-wrap:anywhere;white-space:normal}
.sort{all:unset;cursor:pointer;text-decoration:underline dotted}
.sort:focus-visible{outline:3px solid var(--focus)}
code,pre{font:.9em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--card);border-radius:.6rem;padding:.8rem 1rem;overflow-x:auto;margin:.6rem 0;overflow-wrap:normal}
dl.facts{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.3rem 1.2rem;margin:.8rem 0}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0;min-width:0}
footer{color:var(--soft);font-size:.95rem;border-top:1px solid var(--line);margin-top:3rem;padding-top:1rem;
 padding-bottom:2.5rem}
@media (max-width:30rem){dl.facts{grid-template-columns:1fr;gap:0}dl.facts dd{margin-bottom:.6rem}
 .tiles{grid-template-columns:1fr 1fr}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media print{nav,.skip{display:none}details>*{display:block}figure,.card{break-inside:avoid}}
"""
