package liveview

import (
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// The time between two states. It does not depend on how often edges change. If a state takes long to compute, it is longer, so that
// states take less than 1% of a core.
const (
	interval    = time.Second
	maxInterval = 10 * time.Second
	share       = 150
)

// pause returns the time until the next state, if the latest one took cost.
func pause(cost time.Duration) time.Duration { return min(maxInterval, max(interval, share*cost)) }

// tick asks for the next state.
type tick time.Time

// model is the view in bubbletea's terms. bubbletea calls its methods from one goroutine.
type model struct {
	source Source
	title  string
	clock  func() time.Time
	color  bool

	state         State
	now           time.Time     // the time of state
	cost          time.Duration // of state and table
	table         *table
	width, height int

	filter   string // the edges that are shown; words separated by spaces
	typing   bool   // the filter is being typed
	top      int    // first row on the screen
	selected edgeKey
	details  bool // the selected edge is shown instead of the table
	scroll   int  // first line of the details on the screen
	quit     bool // the user quit
}

// edgeKey identifies an edge across states.
type edgeKey struct {
	from, to     end
	scope, class string
	port         uint16
	folded       bool
}

// end identifies a workload: a Service and a Deployment may have the same name.
type end struct{ namespace, kind, name string }

func endOf(w *topology.Workload) end { return end{w.Namespace, w.Kind, w.Name} }

func keyOf(e *topology.Edge) edgeKey {
	return edgeKey{endOf(&e.From), endOf(&e.To), e.Scope, e.Class, e.Port, e.Folded}
}

func (m *model) Init() tea.Cmd {
	m.load()
	return m.next()
}

// next returns the command that waits until the next state.
func (m *model) next() tea.Cmd {
	return tea.Tick(pause(m.cost), func(t time.Time) tea.Msg { return tick(t) })
}

// load reads the next state.
func (m *model) load() {
	begin := time.Now()
	m.state, m.now = m.source(), m.clock()
	m.build()
	m.cost = time.Since(begin)
}

// build makes the table anew, after a change of the state, the filter or the width.
func (m *model) build() {
	m.table = newTable(m.state.Edges, m.filter, max(1, m.width), m.now)
	if m.at() < 0 {
		m.selected = edgeKey{}
		m.move(0)
	}
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tick:
		m.load()
		if m.state.Ended != "" {
			return m, tea.Quit
		}
		command := m.next()
		return m, command
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.build()
	case tea.PasteMsg:
		if m.typing {
			m.edit("", msg.Content)
		}
	case tea.KeyPressMsg:
		command := m.press(msg)
		return m, command
	}
	return m, nil
}

// press handles a key.
func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	switch name := k.String(); {
	case name == "ctrl+c":
		m.quit = true
		return tea.Quit
	case m.typing:
		m.edit(name, k.Text)
	case m.details:
		return m.pressInDetails(name)
	default:
		return m.pressInTable(name)
	}
	return nil
}

// edit changes the filter while it is being typed.
func (m *model) edit(name, text string) {
	switch name {
	case "enter":
		m.typing = false
		return
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	default:
		for _, r := range text {
			if unicode.IsPrint(r) && len(m.filter) < maxFilter {
				m.filter += string(r)
			}
		}
	}
	m.build()
}

// maxFilter is the greatest length of a filter, in bytes.
const maxFilter = 100

func (m *model) pressInDetails(name string) tea.Cmd {
	switch name {
	case "q":
		m.quit = true
		return tea.Quit
	case "enter", "esc", "left", "backspace":
		m.details = false
	case "up", "k":
		m.scroll--
	case "down", "j":
		m.scroll++
	case "pgup":
		m.scroll -= m.height / 2
	case "pgdown", "space":
		m.scroll += m.height / 2
	case "home", "g":
		m.scroll = 0
	}
	return nil
}

func (m *model) pressInTable(name string) tea.Cmd {
	page := max(1, m.room()-1)
	switch name {
	case "q":
		m.quit = true
		return tea.Quit
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
		m.build()
	case "enter":
		m.details, m.scroll = m.at() >= 0, 0
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-page)
	case "pgdown", "space":
		m.move(page)
	case "home", "g":
		m.move(-len(m.table.rows))
	case "end", "G":
		m.move(len(m.table.rows))
	}
	return nil
}

// at returns the index of the selected row, or -1.
func (m *model) at() int {
	for i := range m.table.rows {
		if e := m.table.rows[i].edge; e != nil && keyOf(e) == m.selected {
			return i
		}
	}
	return -1
}

// move selects the row that is n rows further down, or the nearest edge to it.
func (m *model) move(n int) {
	rows := m.table.rows
	at := min(max(m.at(), 0)+n, len(rows)-1)
	at = max(at, 0)
	step := 1
	if n < 0 {
		step = -1
	}
	for _, step := range [...]int{step, -step} {
		for i := at; i >= 0 && i < len(rows); i += step {
			if rows[i].edge != nil {
				m.selected = keyOf(rows[i].edge)
				return
			}
		}
	}
}
