package store

import (
	"encoding/binary"
	"math"
)

const floatBytes = 4

// littleEndian is a vector as SQLite keeps it.
func littleEndian(vector []float32) []byte {
	data := make([]byte, 0, len(vector)*floatBytes)
	for _, x := range vector {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return data
}

// fromLittleEndian is dialect.readVector for what littleEndian has made.
func fromLittleEndian(data []byte, into []float32) []float32 {
	if len(data)%floatBytes != 0 {
		return nil
	}
	into = into[:0]
	for ; len(data) > 0; data = data[floatBytes:] {
		into = append(into, math.Float32frombits(binary.LittleEndian.Uint32(data)))
	}
	return into
}

// fromArray is dialect.readVector for what PostgreSQL's array_send makes of an
// array of one dimension: five words of head, then each number with its length
// before it, all big-endian.
func fromArray(data []byte, into []float32) []float32 {
	const head = 5 * 4
	const step = 4 + floatBytes
	if len(data) < head || (len(data)-head)%step != 0 {
		return nil
	}
	into = into[:0]
	for data = data[head:]; len(data) > 0; data = data[step:] {
		into = append(into, math.Float32frombits(binary.BigEndian.Uint32(data[step-floatBytes:])))
	}
	return into
}
