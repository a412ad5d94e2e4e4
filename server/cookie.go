package server

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// set keeps a value in a cookie that nobody else can read or make: AES-256-GCM
// over its JSON, bound to the cookie's name.
func (p *people) set(w http.ResponseWriter, name string, v any, lasts time.Duration) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	nonce := make([]byte, p.aead.NonceSize())
	rand.Read(nonce)
	value := base64.RawURLEncoding.EncodeToString(p.aead.Seal(nonce, nonce, text, []byte(name)))
	c := p.cookie(name, value, int(lasts.Seconds()))
	if len(c.String()) > 4000 {
		return errors.New("the sign-in does not fit a cookie")
	}
	http.SetCookie(w, c)
	return nil
}

func (p *people) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: p.cookieName(name), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteLaxMode}
}

// cookieName binds a cookie to this host where it can be (RFC 6265bis).
func (p *people) cookieName(name string) string {
	if p.secure {
		return "__Host-" + name
	}
	return name
}

func (p *people) drop(w http.ResponseWriter, name string) { http.SetCookie(w, p.cookie(name, "", -1)) }

func (p *people) get(r *http.Request, name string, v any) error {
	c, err := r.Cookie(p.cookieName(name))
	if err != nil {
		return err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(sealed) < p.aead.NonceSize() {
		return errors.New("not a cookie of this server")
	}
	n := p.aead.NonceSize()
	text, err := p.aead.Open(nil, sealed[:n], sealed[n:], []byte(name))
	if err != nil {
		return errors.New("not a cookie of this server")
	}
	return json.Unmarshal(text, v)
}
