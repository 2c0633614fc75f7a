"""How the page looks: light or dark as the reader's system asks, tables that become lists on a phone."""

STYLE = """
:root{color-scheme:light dark;--ink:#0f172a;--soft:#64748b;--line:#e2e8f0;--back:#f8fafc;--card:#fff}
@media(prefers-color-scheme:dark){
:root{--ink:#e2e8f0;--soft:#94a3b8;--line:#334155;--back:#0b1120;--card:#111a2e}}
*{box-sizing:border-box}
body{margin:0;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
color:var(--ink);background:var(--back)}
main{max-width:1080px;margin:0 auto;padding:28px 16px 64px}
h1{font-size:1.55rem;letter-spacing:-.01em;margin:0 0 .2em}
h2{font-size:1.15rem;margin:0 0 .4em}
h3{font-size:.95rem;margin:1.4em 0 .3em}
p{margin:.3em 0 .8em}
.lead{font-size:1.1rem;max-width:52em;overflow-wrap:anywhere}
.soft{color:var(--soft);font-size:.93rem;overflow-wrap:anywhere}
section,.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:12px}
section{padding:18px 20px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0}
.tiles>div{padding:12px 16px;display:flex;flex-direction:column}
.tiles b{font-size:1.5rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.85rem}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:16px}
.pair>div{min-width:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;color:var(--soft);font-weight:600}
td,th{padding:7px 14px 7px 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
tbody tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;padding:7px 0 7px 14px}
td:first-child{overflow-wrap:normal}
.js-plotly-plot text:not(.hoverlayer text){fill:var(--ink)!important}
.js-plotly-plot .gridlayer path{stroke:var(--line)!important}
@media(max-width:640px){
main{padding:18px 10px 48px}section{padding:14px 12px}
thead{display:none}table,tbody,tr,td{display:block;width:100%}
tr{padding:8px 0;border-bottom:1px solid var(--line)}tr:last-child{border-bottom:0}
td,td.n{border:0;padding:2px 0;text-align:left;display:flex;gap:12px;justify-content:space-between}
td::before{content:attr(data-heading);color:var(--soft);flex:0 0 38%}
td:first-child{font-weight:600}
}
"""
