package duckdb

import (
	"fmt"
	"math/rand/v2"
)

// topic is what a made-up document is about: sentences of one language that go together.
type topic struct {
	name      string
	heading   string // with a place for the number of the section
	sentences []string
}

// text is the text of a document's chunk: a numbered heading and three of the topic's sentences.
func (t topic) text(rng *rand.Rand, index int) string {
	text := fmt.Sprintf(t.heading, index+1)
	for _, i := range rng.Perm(len(t.sentences))[:3] {
		text += "\n" + t.sentences[i]
	}
	return text
}

var topics = []topic{
	{"connection-pools", "## %d. Connection pools", []string{
		"A pool keeps a handful of database connections open so that a request does not pay for the handshake.",
		"Set the maximum below what the server allows, or a deploy with two replicas will exhaust it.",
		"A connection that has been idle for longer than the firewall's timeout is dead without knowing it; limit its lifetime.",
		"Waiting for a free connection should respect the deadline of the caller.",
		"Long transactions are the usual reason for a pool that looks too small.",
	}},
	{"向量检索", "## %d. 向量检索", []string{
		"向量检索先把文本转换成固定维度的浮点数组，再按余弦距离查找最相近的片段。",
		"近似索引用少量的召回率换取速度，上线前应当用真实数据测量召回率。",
		"更换嵌入模型之后，旧向量不能继续使用，必须重新生成。",
		"分块过大时语义会被稀释，分块过小时上下文不足，常见的长度是五百到一千个字符。",
		"在向量入库之前应检查是否含有空值或非数字，否则距离计算没有意义。",
	}},
	{"sicherungen", "## %d. Sicherungen", []string{
		"Eine Sicherung, die nie zurückgespielt wurde, ist nur eine Hoffnung.",
		"Vollsicherungen laufen nachts, das Änderungsprotokoll wird alle fünf Minuten übertragen.",
		"Prüfsummen gehören neben die Datei, nicht in dieselbe Datei.",
		"Vor jeder Umstellung des Schemas wird eine Kopie angelegt und erst nach einer Woche gelöscht.",
		"Auf größeren Datenträgern dauert die Überprüfung länger als das Schreiben selbst.",
	}},
	{"キャッシュ設計", "## %d. キャッシュ設計", []string{
		"キャッシュの有効期限は、データの更新頻度と許容できる遅延から決める。",
		"同じキーへの要求が集中するときは、最初の一件だけが元のデータを読み、残りは結果を待つ。",
		"削除と更新のどちらを先に行うかによって、古い値が残る時間が変わる。",
		"メモリの上限を超えた場合、最も長く使われていない項目から捨てる。",
		"ヒット率だけでなく、ミスしたときの待ち時間も計測すべきである。",
	}},
	{"journalisation", "## %d. Journalisation", []string{
		"Un message de journal doit pouvoir être compris six mois plus tard, sans le code sous les yeux.",
		"Les valeurs saisies par l'utilisateur n'ont rien à faire dans les journaux d'un serveur.",
		"Chaque requête reçoit un identifiant qui l'accompagne d'un service à l'autre.",
		"À partir d'un certain débit, on n'écrit qu'un échantillon des réussites et la totalité des échecs.",
		"L'horloge de chaque machine est synchronisée, faute de quoi l'ordre des événements est trompeur.",
	}},
	{"colas-de-mensajes", "## %d. Colas de mensajes", []string{
		"Una cola desacopla a quien produce el trabajo de quien lo realiza, pero no lo hace más rápido.",
		"El consumidor debe poder procesar dos veces el mismo mensaje sin que cambie el resultado.",
		"Los mensajes que fallan varias veces se apartan en una cola propia para revisarlos después.",
		"La longitud de la cola y la edad del mensaje más antiguo son las dos medidas que importan.",
		"Sin un límite de tamaño, una avería breve se convierte en una tarde de retrasos.",
	}},
	{"индексы", "## %d. Индексы", []string{
		"Индекс ускоряет чтение и замедляет запись, поэтому лишние индексы следует удалять.",
		"Порядок столбцов в составном индексе определяет, каким запросам он поможет.",
		"План запроса нужно смотреть на данных, похожих на рабочие, а не на пустой таблице.",
		"После большой загрузки статистика устаревает, и оптимизатор выбирает полный просмотр.",
		"Частичный индекс занимает меньше места, если условие отбирает малую часть строк.",
	}},
	{"text-encoding", "## %d. Text encoding 🔤", []string{
		"UTF-8 text may be naïvely cut in the middle of a character; always cut at a rune boundary.",
		"A NUL byte is legal in UTF-8 and refused by many databases, so decide early what happens to it.",
		"Normalise before comparing: the same é can be one code point or two.",
		"Sorting by code point is stable and fast, and wrong for every reader.",
		"An emoji such as 🚀 takes four bytes, and a family of them takes twenty-five.",
	}},
}
