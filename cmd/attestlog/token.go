package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/server"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make a token, and print it once."`
	List   tokenListCmd   `cmd:"" help:"List the tokens, without their secrets."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token."`
}

type tokenCreateCmd struct {
	Note    string        `arg:"" help:"Who or what it is for." name:"NOTE"`
	Scopes  []string      `help:"What it may do: append, read, verify, admin, with commas between them." name:"scope" required:"" placeholder:"SCOPE"`
	Tenant  string        `help:"Limit it to this tenant's entries."`
	Actor   string        `help:"Limit it to this actor's entries."`
	Expires time.Duration `help:"End it after this time, such as 2160h. Defaults to never."`
}

func (tokenCreateCmd) Help() string {
	return `Tokens are kept beside the log, as hashes, for all servers of the log.

Examples:
  attestlog token create 'webmail, production' --scope append
  attestlog token create auditor --scope read,verify --expires 720h
  attestlog token create 'acme portal' --scope read --tenant acme`
}

// tokens runs fn with the log open for writing and its tokens.
func (a *app) tokens(create bool, fn func(*attestlog.Log, server.TokenStore) error) error {
	log, store, err := a.open(openOptions{create: create, write: true})
	if err != nil {
		return err
	}
	return errors.Join(fn(log, store.(server.TokenStore)), a.closeLog(log))
}

// osActor is who runs the program.
func osActor() attestlog.Actor {
	if u, err := user.Current(); err == nil {
		return attestlog.Actor{ID: "os/" + u.Username, Type: "user"}
	}
	return attestlog.Actor{ID: "attestlog", Type: "system"}
}

// noteToken records what was done with a token.
func noteToken(ctx context.Context, log *attestlog.Log, action string, t *server.Token) error {
	e := attestlog.Event{
		Service: "attestlog", Module: "token", Action: action, Operation: strings.TrimPrefix(action, "token."), Outcome: attestlog.Success, Actor: osActor(),
		Targets:    []attestlog.Target{{Type: "token", ID: t.ID, Name: t.Note}},
		Attributes: map[string]any{"scopes": t.Scopes},
	}
	for name, text := range map[string]string{"tenant": t.Tenant, "actor": t.Actor} {
		if text != "" {
			e.Attributes[name] = text
		}
	}
	if !t.Expires.IsZero() {
		e.Attributes["expires"] = t.Expires.Format(time.RFC3339)
	}
	_, err := log.Append(ctx, e)
	return err
}

func (c *tokenCreateCmd) Run(a *app) error {
	return a.tokens(true, func(log *attestlog.Log, store server.TokenStore) error {
		t := server.Token{Note: c.Note, Scopes: c.Scopes, Tenant: c.Tenant, Actor: c.Actor}
		if c.Expires < 0 {
			return fmt.Errorf("--expires %s: that has passed", c.Expires)
		}
		if c.Expires > 0 {
			t.Expires = time.Now().Add(c.Expires).UTC().Truncate(time.Second)
		}
		text, err := server.CreateToken(a.ctx, store, &t)
		if err != nil {
			return err
		}
		if err := noteToken(a.ctx, log, "token.create", &t); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, text)
		a.say("token %s was made; this is the only time that it is shown", t.ID)
		return nil
	})
}

type tokenListCmd struct{}

func (c *tokenListCmd) Run(a *app) error {
	return a.readingHere(func(_ *attestlog.Log, store attestlog.Store) error {
		all, err := server.ListTokens(a.ctx, store.(server.TokenStore))
		if err != nil {
			return err
		}
		for _, t := range all {
			state := "valid"
			now := time.Now()
			switch {
			case !t.Revoked.IsZero():
				state = "revoked " + t.Revoked.Format(time.RFC3339)
			case !t.Expires.IsZero() && now.After(t.Expires):
				state = "expired " + t.Expires.Format(time.RFC3339)
			case !t.Expires.IsZero():
				state = "until " + t.Expires.Format(time.RFC3339)
			}
			limits := ""
			if t.Tenant != "" {
				limits += "  tenant:" + cleanLine(t.Tenant)
			}
			if t.Actor != "" {
				limits += "  actor:" + cleanLine(t.Actor)
			}
			fmt.Fprintf(a.stdout, "%s  %-28s  %-20s  made %s%s  %s\n", t.ID, state, strings.Join(t.Scopes, ","), t.Made.Format(time.RFC3339), limits, cleanLine(t.Note))
		}
		return nil
	})
}

type tokenRevokeCmd struct {
	ID string `arg:"" help:"The token's id, which stands between al_ and the secret." name:"ID"`
}

func (c *tokenRevokeCmd) Run(a *app) error {
	return a.tokens(false, func(log *attestlog.Log, store server.TokenStore) error {
		id := strings.TrimPrefix(c.ID, "al_")
		if head, _, whole := strings.Cut(id, "_"); whole {
			id = head // the whole token was given
		}
		t, err := server.RevokeToken(a.ctx, store, id, time.Now())
		if errors.Is(err, attestlog.ErrNotFound) {
			return hinted{fmt.Errorf("there is no token %q", id), "attestlog token list shows them"}
		}
		if err != nil {
			return err
		}
		return noteToken(a.ctx, log, "token.revoke", &t)
	})
}
