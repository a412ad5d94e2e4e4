package server

import (
	"bytes"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// docsTemplate has no scripts, and loads nothing.
var docsTemplate = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>attestlog API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
h2 { border-top: 1px solid #ccc; padding-top: 1rem; font-size: 1.1rem }
code { background: #f2f2f2; padding: .1em .3em }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #eee }
@media (prefers-color-scheme: dark) {
	body { color: #eee; background: #161616 }
	code { background: #2a2a2a }
	td, th { border-color: #333 }
	a { color: #9cf }
}
</style>
</head>
<body>
<h1>attestlog API</h1>
<p>{{.About}} The whole description: <a href="/openapi.json">/openapi.json</a>.</p>
{{range .Operations}}
<h2 id="{{.ID}}"><code>{{.Method}} {{.Path}}</code></h2>
<p>{{.Summary}}.</p>
{{if .Params}}<table>
<thead><tr><th scope="col">Parameter</th><th scope="col">In</th><th scope="col">Meaning</th></tr></thead>
<tbody>
{{range .Params}}<tr><td><code>{{.Name}}</code>{{if .Required}} (required){{end}}</td><td>{{.In}}</td><td>{{.Doc}}</td></tr>
{{end}}</tbody>
</table>
{{end}}<p>Answers: {{.Answers}}</p>
{{end}}</body>
</html>
`))

type docOperation struct {
	ID, Method, Path, Summary string
	Params                    []docParam
	Answers                   string // statuses
}

type docParam struct {
	Name, In, Doc string
	Required      bool
}

// docsPage shows the description of the API to people.
func docsPage(api *huma.OpenAPI) []byte {
	page := struct {
		About      string
		Operations []docOperation
	}{About: api.Info.Description}

	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		item := api.Paths[path]
		for _, o := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if o != nil {
				page.Operations = append(page.Operations, docOf(path, o))
			}
		}
	}

	var b bytes.Buffer
	err := docsTemplate.Execute(&b, page)
	if err != nil {
		panic(err) // the template and its data are the program's own
	}
	return b.Bytes()
}

func docOf(path string, o *huma.Operation) docOperation {
	d := docOperation{
		ID:      o.OperationID,
		Method:  o.Method,
		Path:    path,
		Summary: strings.TrimSuffix(o.Summary, "."),
		Answers: strings.Join(slices.Sorted(maps.Keys(o.Responses)), ", "),
	}
	for _, p := range o.Parameters {
		doc := p.Description
		if doc == "" && p.Schema != nil {
			doc = p.Schema.Description
		}
		d.Params = append(d.Params, docParam{p.Name, p.In, doc, p.Required})
	}
	return d
}
