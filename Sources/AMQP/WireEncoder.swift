// Checks that a message can be written, and lays it out as librabbitmq wants it.
import AMQPMessage
import CRabbitMQ
import Glibc

/// What a message takes on the wire. librabbitmq finds out that a string or table is too long only after
/// `basic.publish` went out, which ruins the connection: so everything is measured here first.
enum WireSize {
    /// Bytes of method, header and body frames together.
    /// - Throws: ``AMQPError/invalidMessage(_:)`` naming what is too long or nested too deep.
    static func of(_ outgoing: OutgoingMessage, frameMax: Int) throws(AMQPError) -> Int {
        try checkShort(outgoing.exchange, "exchange")
        try checkShort(outgoing.routingKey, "routing key")
        let header: Int
        do {
            // Frame header and end around the payload.
            header = 8 + (try outgoing.message.properties.encodedSize())
        } catch {
            throw .invalidMessage(error.description)
        }
        if header > frameMax {
            throw .invalidMessage("properties and headers take \(header) bytes, a frame at most \(frameMax)")
        }
        let method = 8 + 4 + 2 + 1 + outgoing.exchange.utf8.count + 1 + outgoing.routingKey.utf8.count + 1
        let body = outgoing.message.body.count
        return method + header + body + 8 * (body / max(frameMax - 8, 1) + 1)
    }

    /// Bytes of a table with its length.
    static func table(_ table: FieldTable) throws(AMQPError) -> Int {
        do { return try table.encodedSize() } catch { throw .invalidMessage(error.description) }
    }

    static func checkShort(_ text: String, _ name: String) throws(AMQPError) {
        if text.utf8.count > 255 {
            throw .invalidMessage("\(name) has \(text.utf8.count) bytes, AMQP allows 255")
        }
    }
}

/// Memory for arguments of the library, freed or used again as a whole. Wraps `amqp_pool_t`, whose blocks stay where
/// they are until `recycle`.
struct Arena: ~Copyable {
    private let pool: UnsafeMutablePointer<amqp_pool_t>

    init() {
        pool = .allocate(capacity: 1)
        init_amqp_pool(pool, 4096)
    }

    deinit {
        empty_amqp_pool(pool)
        pool.deallocate()
    }

    /// Ends the life of everything handed out before.
    func recycle() { recycle_amqp_pool(pool) }

    private func allocate(_ count: Int) -> UnsafeMutableRawPointer {
        // The library returns null only when malloc does; Swift's own allocations end the process then, too.
        guard let memory = amqp_pool_alloc(pool, max(count, 1)) else { fatalError("out of memory") }
        return memory
    }

    func bytes(_ text: String) -> amqp_bytes_t {
        var text = text
        return text.withUTF8 { bytes(UnsafeRawBufferPointer($0)) }
    }

    func bytes(_ source: UnsafeRawBufferPointer) -> amqp_bytes_t {
        let memory = allocate(source.count)
        if let base = source.baseAddress { memcpy(memory, base, source.count) }
        return amqp_bytes_t(len: source.count, bytes: memory)
    }

    /// The table must have been measured before: neither depth nor length is checked here.
    func table(_ table: FieldTable) -> amqp_table_t {
        let entries = allocate(table.fields.count * MemoryLayout<amqp_table_entry_t>.stride)
            .bindMemory(to: amqp_table_entry_t.self, capacity: table.fields.count)
        for (index, field) in table.fields.enumerated() {
            (entries + index).initialize(
                to: amqp_table_entry_t(key: bytes(field.key), value: value(field.value)))
        }
        return amqp_table_t(num_entries: Int32(table.fields.count), entries: entries)
    }

    private func array(_ values: [FieldValue]) -> amqp_array_t {
        let entries = allocate(values.count * MemoryLayout<amqp_field_value_t>.stride)
            .bindMemory(to: amqp_field_value_t.self, capacity: values.count)
        for (index, element) in values.enumerated() { (entries + index).initialize(to: value(element)) }
        return amqp_array_t(num_entries: Int32(values.count), entries: entries)
    }

    private func value(_ value: FieldValue) -> amqp_field_value_t {
        var field = amqp_field_value_t()
        func kind(_ kind: amqp_field_value_kind_t) { field.kind = UInt8(truncatingIfNeeded: kind.rawValue) }
        switch value {
        case .void: kind(AMQP_FIELD_KIND_VOID)
        case .boolean(let flag):
            kind(AMQP_FIELD_KIND_BOOLEAN)
            field.value.boolean = flag ? 1 : 0
        case .int8(let number):
            kind(AMQP_FIELD_KIND_I8)
            field.value.i8 = number
        case .uint8(let number):
            kind(AMQP_FIELD_KIND_U8)
            field.value.u8 = number
        case .int16(let number):
            kind(AMQP_FIELD_KIND_I16)
            field.value.i16 = number
        case .uint16(let number):
            kind(AMQP_FIELD_KIND_U16)
            field.value.u16 = number
        case .int32(let number):
            kind(AMQP_FIELD_KIND_I32)
            field.value.i32 = number
        case .uint32(let number):
            kind(AMQP_FIELD_KIND_U32)
            field.value.u32 = number
        case .int64(let number):
            kind(AMQP_FIELD_KIND_I64)
            field.value.i64 = number
        case .uint64(let number):
            kind(AMQP_FIELD_KIND_U64)
            field.value.u64 = number
        case .float(let number):
            kind(AMQP_FIELD_KIND_F32)
            field.value.f32 = number
        case .double(let number):
            kind(AMQP_FIELD_KIND_F64)
            field.value.f64 = number
        case .decimal(let scale, let number):
            kind(AMQP_FIELD_KIND_DECIMAL)
            field.value.decimal = amqp_decimal_t(decimals: scale, value: number)
        case .string(let text):
            kind(AMQP_FIELD_KIND_UTF8)
            field.value.bytes = bytes(text)
        case .malformedString(let source):
            kind(AMQP_FIELD_KIND_UTF8)
            field.value.bytes = source.withUnsafeBytes { bytes($0) }
        case .bytes(let source):
            kind(AMQP_FIELD_KIND_BYTES)
            field.value.bytes = source.withUnsafeBytes { bytes($0) }
        case .timestamp(let seconds):
            kind(AMQP_FIELD_KIND_TIMESTAMP)
            field.value.u64 = seconds
        case .array(let values):
            kind(AMQP_FIELD_KIND_ARRAY)
            field.value.array = array(values)
        case .table(let nested):
            kind(AMQP_FIELD_KIND_TABLE)
            field.value.table = table(nested)
        }
        return field
    }

    /// The properties must have been measured before.
    func properties(_ source: MessageProperties) -> amqp_basic_properties_t {
        var target = amqp_basic_properties_t()
        func set(_ bit: Int32) { target._flags |= amqp_flags_t(bit) }
        if let text = source.contentType {
            target.content_type = bytes(text)
            set(AMQP_BASIC_CONTENT_TYPE_FLAG)
        }
        if let text = source.contentEncoding {
            target.content_encoding = bytes(text)
            set(AMQP_BASIC_CONTENT_ENCODING_FLAG)
        }
        if !source.headers.isEmpty {
            target.headers = table(source.headers)
            set(AMQP_BASIC_HEADERS_FLAG)
        }
        if let mode = source.deliveryMode {
            target.delivery_mode = mode
            set(AMQP_BASIC_DELIVERY_MODE_FLAG)
        }
        if let priority = source.priority {
            target.priority = priority
            set(AMQP_BASIC_PRIORITY_FLAG)
        }
        if let text = source.correlationID {
            target.correlation_id = bytes(text)
            set(AMQP_BASIC_CORRELATION_ID_FLAG)
        }
        if let text = source.replyTo {
            target.reply_to = bytes(text)
            set(AMQP_BASIC_REPLY_TO_FLAG)
        }
        if let text = source.expiration {
            target.expiration = bytes(text)
            set(AMQP_BASIC_EXPIRATION_FLAG)
        }
        if let text = source.messageID {
            target.message_id = bytes(text)
            set(AMQP_BASIC_MESSAGE_ID_FLAG)
        }
        if let timestamp = source.timestamp {
            target.timestamp = timestamp
            set(AMQP_BASIC_TIMESTAMP_FLAG)
        }
        if let text = source.type {
            target.type = bytes(text)
            set(AMQP_BASIC_TYPE_FLAG)
        }
        if let text = source.userID {
            target.user_id = bytes(text)
            set(AMQP_BASIC_USER_ID_FLAG)
        }
        if let text = source.appID {
            target.app_id = bytes(text)
            set(AMQP_BASIC_APP_ID_FLAG)
        }
        if let text = source.clusterID {
            target.cluster_id = bytes(text)
            set(AMQP_BASIC_CLUSTER_ID_FLAG)
        }
        return target
    }
}
