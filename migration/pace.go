package migration

import "time"

// paceWindow is the time over which a pace is measured.
const paceWindow = 5 * time.Second

// pace measures how fast one part of the work goes.
type pace struct {
	what  Progress
	now   func() time.Time
	marks []paceMark
	start paceMark
}

type paceMark struct {
	at   time.Time
	done int64
}

func newPace(p Progress, now func() time.Time) *pace {
	return &pace{what: Progress{Phase: p.Phase, Source: p.Source, Table: p.Table}, now: now}
}

// of reports whether p is of the same part of the work.
func (m *pace) of(p Progress) bool {
	if p.Phase == PhaseBackup || p.Phase == PhaseValidate {
		return p.Phase == m.what.Phase // counted as one
	}
	return p.Phase == m.what.Phase && p.Source == m.what.Source && p.Table == m.what.Table
}

// add sets the pace of p over the last seconds, and, once 1 % is done, the time that remains at the
// pace since the beginning.
func (m *pace) add(p *Progress) {
	now := paceMark{m.now(), p.Done}
	if m.start.at.IsZero() {
		m.start = now
	}
	for len(m.marks) > 1 && now.at.Sub(m.marks[0].at) > paceWindow {
		m.marks = m.marks[1:]
	}
	m.marks = append(m.marks, now)
	since := func(from paceMark) float64 {
		if d := now.at.Sub(from.at).Seconds(); d > 0 {
			return float64(now.done-from.done) / d
		}
		return 0
	}
	p.PerSecond = since(m.marks[0])
	overall := since(m.start)
	if p.Total > 0 && p.Done*100 >= p.Total && p.Done < p.Total && overall > 0 {
		p.Remaining = time.Duration(float64(p.Total-p.Done) / overall * float64(time.Second))
	}
}
