// The bytes in which a store without columns of its own keeps what it remembers of a command.

import RoutingContract

/// Writes and reads records as bytes.
///
/// Format 1: the byte 1; the state (1 claimed, 2 released, 3 completed); flags for what is present; the fingerprint's 32
/// bytes; then, in the order written below, integers as zigzag LEB128, strings and the result (``ResultCodec``) as a
/// length and bytes. A new field needs a new format, which earlier versions refuse; so the history, which no decision
/// needs, is not in it: stores keep it beside these bytes, where earlier versions do not look.
public enum RecordCodec {
    private static let format: UInt8 = 1

    private struct Flags: OptionSet {
        var rawValue: UInt8
        static let mayHaveTakenEffect = Flags(rawValue: 1)
        static let nonce = Flags(rawValue: 2)
        static let ending = Flags(rawValue: 4)
        static let all: Flags = [.mayHaveTakenEffect, .nonce, .ending]
    }

    public static func encode(_ record: CommandRecord) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(128)
        encode(record, to: &bytes)
        return bytes
    }

    /// Appends what `encode(_:)` returns.
    public static func encode(_ record: CommandRecord, to bytes: inout [UInt8]) {
        let code: UInt8
        var until: Timestamp?
        let ending: CommandRecord.Ending?
        switch record.state {
        case .claimed(let end, let before): (code, until, ending) = (1, end, before)
        case .released(let before): (code, ending) = (2, before)
        case .completed(let result): (code, ending) = (3, result)
        }
        var flags: Flags = []
        if record.mayHaveTakenEffect { flags.insert(.mayHaveTakenEffect) }
        if record.nonce != nil { flags.insert(.nonce) }
        if ending != nil { flags.insert(.ending) }

        bytes.append(format)
        bytes.append(code)
        bytes.append(flags.rawValue)
        bytes.append(contentsOf: record.fingerprint.bytes)
        if let until { bytes.write(until.milliseconds) }
        bytes.write(record.token)
        bytes.write(Int64(record.attempts))
        bytes.write(Int64(record.replay))
        if let nonce = record.nonce { bytes.write(Int64(bitPattern: nonce)) }
        bytes.write(record.worker)
        bytes.write(record.keepUntil.milliseconds)
        if let ending {
            bytes.write(Int64(ending.replay))
            bytes.write(counted: ResultCodec.encode(ending.result))
        }
    }

    /// - Throws: ``StoreError/unusable(_:)`` for bytes of another format or cut short. Never traps.
    public static func decode(_ bytes: ArraySlice<UInt8>) throws(StoreError) -> CommandRecord {
        guard let found = bytes.first else { throw .unusable("a command's record is empty") }
        guard found == format else {
            throw .unusable(
                "a command's record has format \(found), this version reads format \(format): run a newer version")
        }
        var reader = ByteReader(bytes.dropFirst())
        guard let record = try readFields(&reader) else { throw .unusable("a command's record is damaged") }
        return record
    }

    private static func readFields(_ reader: inout ByteReader) throws(StoreError) -> CommandRecord? {
        guard let code = reader.readByte(), let flags = reader.readByte().map(Flags.init(rawValue:)),
            flags.isSubset(of: .all), let fingerprint = reader.readBytes(count: 32)
        else { return nil }
        var until: Timestamp?
        if code == 1 {
            guard let end = reader.readInteger() else { return nil }
            until = Timestamp(milliseconds: end)
        }
        guard let token = reader.readInteger(), let attempts = reader.readInt(), let replay = reader.readInt() else {
            return nil
        }
        var nonce: UInt64?
        if flags.contains(.nonce) {
            guard let value = reader.readInteger() else { return nil }
            nonce = UInt64(bitPattern: value)
        }
        guard let worker = reader.readString(), let keepUntil = reader.readInteger() else { return nil }
        var ending: CommandRecord.Ending?
        if flags.contains(.ending) {
            guard let replay = reader.readInt(), let result = reader.readBytes() else { return nil }
            ending = CommandRecord.Ending(result: try ResultCodec.decode(Array(result)), replay: replay)
        }
        guard reader.isAtEnd else { return nil }
        let state: CommandRecord.State
        switch (code, until, ending) {
        case (1, let until?, let before): state = .claimed(until: until, before: before)
        case (2, _, let before): state = .released(before: before)
        case (3, _, let ending?): state = .completed(ending)
        default: return nil
        }
        return CommandRecord(
            fingerprint: Fingerprint(bytes: Array(fingerprint)), state: state, token: token, attempts: attempts,
            mayHaveTakenEffect: flags.contains(.mayHaveTakenEffect), replay: replay, nonce: nonce, worker: worker,
            keepUntil: Timestamp(milliseconds: keepUntil))
    }
}
