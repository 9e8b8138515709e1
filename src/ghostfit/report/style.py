"""The look of a report: one palette for light, one for dark, and the style sheet of the page.

The colours of the plots are those of Okabe and Ito (Color Universal Design, 2008), chosen to be told apart with any
kind of colour vision; kinds of points differ in shape as well. Paper is always light.
"""

from __future__ import annotations

LIGHT = {
    "page": "#f6f6f3",
    "card": "#ffffff",
    "well": "#f3f4f1",
    "ink": "#1b1f23",
    "soft": "#5c636b",
    "line": "#e2e3de",
    "blue": "#0072b2",
    "grey": "#8b939c",
    "purple": "#b65d93",
    "green": "#00875f",
    "orange": "#cf5600",
    "yellow": "#a87400",
    "red": "#b3261e",
    "on-colour": "#ffffff",
}
DARK = {
    "page": "#111315",
    "card": "#191c1f",
    "well": "#212529",
    "ink": "#e7e9eb",
    "soft": "#9ba3ab",
    "line": "#2d3237",
    "blue": "#5ab4ea",
    "grey": "#858e97",
    "purple": "#dd94c0",
    "green": "#36c79d",
    "orange": "#ff8f45",
    "yellow": "#e9b949",
    "red": "#ff8a80",
    "on-colour": "#0d1012",
}


def palette(selector: str) -> str:
    """CSS that gives `selector` the colours as ``--ink``, ``--blue``, ..., dark on a dark screen."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in colours.items()) for colours in (LIGHT, DARK))
    return f"{selector}{{{light}}}\n@media screen and (prefers-color-scheme:dark){{{selector}{{{dark}}}}}\n"


PAGE_STYLE = """
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:24px;-webkit-text-size-adjust:100%;color-scheme:light dark}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Inter,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
a{color:var(--blue)}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
code{overflow-wrap:anywhere}
pre{background:var(--well);border-radius:8px;padding:12px 14px;margin:8px 0;white-space:pre-wrap;overflow-wrap:anywhere}
.layout{display:grid;grid-template-columns:216px minmax(0,1fr);gap:36px;max-width:1240px;margin:0 auto;padding:0 28px}
.contents{position:sticky;top:0;align-self:start;max-height:100vh;overflow-y:auto;padding:38px 0 24px;font-size:14px}
.contents b{display:block;margin:0 0 14px 12px;font-size:15px;letter-spacing:-.01em}
.contents a{display:block;padding:5px 12px;border-left:2px solid var(--line);color:var(--soft);text-decoration:none}
.contents a:hover{color:var(--ink)}
.contents a.here{color:var(--ink);border-color:var(--blue);font-weight:600}
.contents a.absent{opacity:.55}
main{min-width:0;padding:34px 0 60px}
header{margin-bottom:22px}
.kicker{margin:0;color:var(--soft);font-size:13px;letter-spacing:.06em;text-transform:uppercase}
h1{margin:4px 0 6px;font-size:32px;line-height:1.2;letter-spacing:-.02em;font-weight:650;overflow-wrap:anywhere}
h2{margin:0 0 4px;font-size:21px;line-height:1.3;letter-spacing:-.012em;font-weight:650}
h3{margin:26px 0 6px;font-size:15.5px;line-height:1.35;font-weight:650}
p{margin:0 0 12px;max-width:74ch}
.lead{color:var(--soft);font-size:16px;margin:0 0 18px}
.intro,.caption,.quiet{color:var(--soft);font-size:14.5px}
.intro{margin-bottom:18px}
.caption{margin:8px 0 0;font-size:13.5px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:26px 28px;margin:0 0 20px}
section.absent{background:none;border-style:dashed;padding:16px 28px}
section.absent h2{font-size:16px;color:var(--soft)}
section.absent p{margin:0;color:var(--soft);font-size:14.5px}
section>:last-child{margin-bottom:0}
.verdict{font-size:19px;line-height:1.45;letter-spacing:-.008em;margin:0 0 18px;padding-left:16px;
border-left:4px solid var(--orange);max-width:64ch}
.notice{border:1px solid var(--line);border-left:4px solid var(--yellow);border-radius:10px;background:var(--card);
padding:12px 16px;margin:0 0 18px;font-size:14.5px}
.notice p:last-child{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:12px;margin:0 0 18px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 18px 15px}
.tile dt{color:var(--soft);font-size:13.5px}
.tile dd{margin:2px 0 0;font-size:27px;line-height:1.25;font-weight:650;letter-spacing:-.02em}
.tile dd small{font-size:15px;font-weight:500;color:var(--soft);letter-spacing:0;white-space:nowrap}
.tile p{margin:5px 0 0;font-size:13px;line-height:1.4;color:var(--soft)}
.tile.first dd{color:var(--orange)}
.gauge{display:block;height:5px;border-radius:3px;background:var(--line);margin:9px 0 0;overflow:hidden}
.gauge i{display:block;height:100%;border-radius:3px;background:var(--green)}
.gauge.over i{background:var(--red)}
.kept{color:var(--green);font-weight:600}.broken{color:var(--red);font-weight:600}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:20px 28px}
.pair h3:first-child{margin-top:8px}
.triple{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,240px),1fr));gap:14px 22px}
.beside{display:flex;flex-wrap:wrap;gap:4px 40px}
.beside>:last-child{flex:1 1 280px}
.beside h3{margin-top:4px}
figure{margin:0 0 6px}
svg{display:block;width:100%;height:auto}
.narrow{display:none}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 8px;padding:0;list-style:none;font-size:13.5px;
color:var(--soft)}
.legend li{display:flex;align-items:center;gap:7px}
.legend svg{width:16px;height:16px;flex:none}
.scroll{overflow-x:auto;margin:0 0 12px}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;padding:7px 14px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td,tr:last-child th{border-bottom:0}
thead th{color:var(--soft);font-weight:500;font-size:13px;vertical-align:bottom;border-bottom:1px solid var(--grey)}
tbody th{font-weight:500;overflow-wrap:break-word}
.tight tbody th,.tight tbody td{padding-top:2px;padding-bottom:2px;border-bottom:0}
.tight tr.first>*{border-top:1px solid var(--line);padding-top:5px}
.tight tr.last>*{padding-bottom:5px}
td.number,th.number{text-align:right;white-space:nowrap}
tr.chosen td,tr.chosen th{font-weight:650}
tr.chosen th{color:var(--orange)}
td.meter{width:30%;min-width:90px;vertical-align:middle}
.meter i{display:block;height:9px;border-radius:2px;background:var(--blue)}
.meter i.slower{background:var(--orange)}.meter i.faster{background:var(--green);margin-left:auto}
.meter.half{display:grid;grid-template-columns:1fr 1fr;gap:2px}
table.facts th{width:190px;color:var(--soft);font-weight:400;padding-right:18px}
table.facts td{overflow-wrap:anywhere}
.facts+.pair{margin-top:24px}
.chips{display:flex;flex-wrap:wrap;gap:4px}
.chip{display:inline-block;border:1px solid var(--line);border-radius:6px;padding:0 7px;font-size:12.5px;
line-height:20px;background:var(--well);overflow-wrap:anywhere}
.chip.dropped{color:var(--soft);text-decoration:line-through;background:none}
.finding{display:grid;font-size:14.5px;grid-template-columns:76px minmax(0,1fr);gap:2px 12px;padding:12px 0;
border-bottom:1px solid var(--line)}
.finding:last-child{border-bottom:0}
.finding p,.finding .chips{margin:2px 0 0;grid-column:2}
.badge{place-self:start;border-radius:6px;padding:1px 8px;font-size:12px;line-height:20px;font-weight:600;
border:1px solid currentColor;color:var(--soft)}
.badge.error{color:var(--red)}.badge.warning{color:var(--yellow)}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:16px 14px}
.pictures figure{margin:0}
.pictures img,.pictures .blank{display:block;width:100%;aspect-ratio:1;object-fit:cover;border-radius:10px;
background:var(--well)}
.pictures figcaption{font-size:13px;line-height:1.4;margin-top:6px;overflow-wrap:anywhere}
.pictures .truth{display:block;color:var(--soft)}
.pictures .said{font-weight:600;color:var(--orange)}
.strips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr));gap:16px 14px}
.strips.whole{grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr))}
.strips figure{margin:0}
.strips img,.strips .blank{display:block;width:100%;max-width:482px;border-radius:8px;background:var(--well)}
.strips .blank{aspect-ratio:2}
.strips figcaption{font-size:13px;line-height:1.4;margin-top:6px;overflow-wrap:anywhere}
.strips .truth{display:block;color:var(--soft)}
.colours i{width:14px;height:14px;border-radius:3px;flex:none}
details{margin:10px 0 0}
summary{cursor:pointer;color:var(--blue);font-size:14.5px}
details>:nth-child(2){margin-top:12px}
footer{color:var(--soft);font-size:13px;padding:4px 2px}
.plot text{font-size:12px;fill:var(--soft)}
.plot .name{fill:var(--ink)}
.plot .grid{stroke:var(--line);stroke-width:1}
.plot .axis{stroke:var(--grey);stroke-width:1}
.plot .label{fill:var(--ink);font-size:12.5px;font-weight:550;paint-order:stroke;stroke:var(--card);stroke-width:4px;
stroke-linejoin:round}
.plot .leader{stroke:var(--grey);stroke-width:1}
.plot .limit{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 4}
.plot .beyond{fill:var(--ink);fill-opacity:.045}
.plot .ideal{stroke:var(--grey);stroke-width:1.2;stroke-dasharray:4 4}
.plot .curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.plot .raw{fill:none;stroke-width:1;stroke-opacity:.3}
.plot .whisker{stroke-width:2}
.plot .on{fill:var(--on-colour)}
.plot .cell{fill:var(--ink)}
.plot .track{fill:var(--well)}
.blue{fill:var(--blue);stroke:var(--blue)}.grey{fill:var(--grey);stroke:var(--grey)}
.purple{fill:var(--purple);stroke:var(--purple)}.green{fill:var(--green);stroke:var(--green)}
.orange{fill:var(--orange);stroke:var(--orange)}.yellow{fill:var(--yellow);stroke:var(--yellow)}
.plot .mark{stroke:var(--card);stroke-width:1;fill-opacity:.85}
.plot .ring{fill:none;stroke-width:1.4}
.plot .star{stroke:var(--card);stroke-width:1.5}
.plot .bar{stroke:none}
@media (max-width:1023px){
.layout{display:block;padding:0 20px}
html{scroll-padding-top:58px}
.contents{z-index:1;display:flex;gap:2px;overflow-x:auto;margin:0 -20px;padding:8px 14px;background:var(--card);
border-bottom:1px solid var(--line);white-space:nowrap;scrollbar-width:none}
.contents b{display:none}
.contents a{border:0;border-radius:8px;padding:4px 9px}
.contents a.here{background:var(--well)}
main{padding-top:24px}}
@media screen and (max-width:699px){
.layout{padding:0 12px}
.contents{margin:0 -12px}
.wide{display:none}.narrow{display:block}
section{padding:20px 16px;border-radius:12px}
section.absent{padding:14px 16px}
h1{font-size:26px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}
.tile{padding:12px 13px}
.tile dd{font-size:22px}
.verdict{font-size:17px}
.pictures{grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:12px 10px}
th,td{padding-right:10px}
table.facts th{width:110px}
.tight tr>:nth-child(4){display:none}
.finding{grid-template-columns:minmax(0,1fr)}
.finding p,.finding .chips{grid-column:1}}
@media print{
body{background:none;font-size:11pt}
.layout{display:block;padding:0;max-width:none}
.contents{display:none}
h2,h3,.intro,.quiet,.legend{break-after:avoid}
.tiles,.triple{grid-template-columns:1fr 1fr 1fr}
section,.tile,figure{break-inside:avoid}
section{padding:12px 14px}
section.long{break-inside:auto}
tr,.finding,.pictures figure,.strips figure{break-inside:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

SCRIPT = """
const links=[...document.querySelectorAll('.contents a')];
const mark=()=>{let here=links[0];
for(const link of links){const part=document.getElementById(link.hash.slice(1));
if(part&&part.getBoundingClientRect().top<innerHeight*.3)here=link}
if(innerHeight+scrollY>=document.body.scrollHeight-4&&scrollY>0)here=links[links.length-1];
for(const link of links)link.classList.toggle('here',link===here);
const bar=here&&here.parentElement;
if(bar&&bar.scrollWidth>bar.clientWidth)bar.scrollLeft=here.offsetLeft-bar.clientWidth/3};
addEventListener('scroll',mark,{passive:true});mark();
"""
