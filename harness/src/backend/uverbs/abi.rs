//! Numbers of the kernel's verbs interface: objects, methods and attributes of the ioctl `RDMA_VERBS_IOCTL`.
//!
//! Each has its name in the kernel's headers `include/uapi/rdma/` beside it, by which a test compares it with them. The kernel numbers its own things
//! from 0 and a driver's from `1 << UVERBS_ID_NS_SHIFT`.

/// A number and its name in the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The number.
    pub value: u16,
    /// `MLX5_IB_OBJECT_VAR`.
    pub name: &'static str,
}

/// Declares the numbers of one header, and a list of them all.
macro_rules! numbers {
    ($(#[$outer:meta])* $list:ident; $($(#[$meta:meta])* $id:ident = $value:expr, $name:literal;)+) => {
        $($(#[$meta])* #[doc = concat!("\n\nSource: `", $name, "`.")] pub const $id: u16 = $value;)+
        $(#[$outer])*
        pub const $list: &[Named] = &[$(Named { value: $id, name: $name },)+];
    };
}

/// Where a driver's numbers begin. Source: `UVERBS_ID_DRIVER_NS` of `ib_user_ioctl_cmds.h`.
const DRIVER: u16 = 1 << 12;

/// The driver by which a call names whose methods it means. Source: `enum rdma_driver_id` of `ib_user_ioctl_verbs.h`.
pub const RDMA_DRIVER_MLX5: u32 = 1;

/// An attribute that the kernel must know. Source: `UVERBS_ATTR_F_MANDATORY` of `rdma_user_ioctl_cmds.h`.
pub const ATTR_F_MANDATORY: u16 = 1;

/// The context gets a DEVX uid. Source: `MLX5_IB_ALLOC_UCTX_DEVX` of `mlx5-abi.h`.
pub const ALLOC_UCTX_DEVX: u32 = 1;
/// The library allocates its UARs itself. Source: `MLX5_LIB_CAP_4K_UAR` and `MLX5_LIB_CAP_DYN_UAR` of `mlx5-abi.h`.
pub const LIB_CAPS: u64 = 0b11;
/// Bytes of `struct mlx5_ib_alloc_ucontext_resp` of `mlx5-abi.h`, as of Linux 7.3.4.
pub const ALLOC_UCONTEXT_RESP: usize = 72;

/// The device writes to registered memory. Source: `IB_UVERBS_ACCESS_LOCAL_WRITE` of `ib_user_ioctl_verbs.h`.
pub const ACCESS_LOCAL_WRITE: u32 = 1;
/// A VAR of the second table. Source: `MLX5_IB_UAPI_VAR_ALLOC_FLAG_TLP` of `mlx5_user_ioctl_verbs.h`.
pub const VAR_ALLOC_FLAG_TLP: u32 = 1;
/// A UAR that is mapped with write combining. Source: `MLX5_IB_UAPI_UAR_ALLOC_TYPE_BF` of `mlx5_user_ioctl_verbs.h`.
pub const UAR_ALLOC_TYPE_BF: u64 = 0;
/// A UAR that is mapped non-cached. Source: `MLX5_IB_UAPI_UAR_ALLOC_TYPE_NC` of `mlx5_user_ioctl_verbs.h`.
pub const UAR_ALLOC_TYPE_NC: u64 = 1;
/// Events come as their cookies alone, several of one subscription as one. Source: `MLX5_IB_UAPI_DEVX_CR_EV_CH_FLAGS_OMIT_DATA` of
/// `mlx5_user_ioctl_verbs.h`.
pub const EVENT_CHANNEL_OMIT_DATA: u32 = 1;

numbers! {
    /// Numbers of `ib_user_ioctl_cmds.h`.
    CORE;
    /// The device itself.
    OBJECT_DEVICE = 0, "UVERBS_OBJECT_DEVICE";
    /// Makes the file's context.
    METHOD_GET_CONTEXT = 3, "UVERBS_METHOD_GET_CONTEXT";
    /// Asks for what [`METHOD_GET_CONTEXT`] answered.
    METHOD_QUERY_CONTEXT = 4, "UVERBS_METHOD_QUERY_CONTEXT";
    /// What the driver is told, as a struct.
    ATTR_UHW_IN = DRIVER, "UVERBS_ATTR_UHW_IN";
    /// What the driver answers, as a struct.
    ATTR_UHW_OUT = DRIVER + 1, "UVERBS_ATTR_UHW_OUT";
}

numbers! {
    /// Numbers of `mlx5_user_ioctl_cmds.h`.
    MLX5;
    /// The driver's answer to [`METHOD_QUERY_CONTEXT`].
    ATTR_QUERY_CONTEXT_RESP_UCTX = DRIVER, "MLX5_IB_ATTR_QUERY_CONTEXT_RESP_UCTX";

    /// What needs no object of its own.
    OBJECT_DEVX = DRIVER, "MLX5_IB_OBJECT_DEVX";
    /// Objects that the firmware has for us.
    OBJECT_DEVX_OBJ = DRIVER + 1, "MLX5_IB_OBJECT_DEVX_OBJ";
    /// Registered memory.
    OBJECT_DEVX_UMEM = DRIVER + 2, "MLX5_IB_OBJECT_DEVX_UMEM";
    /// Files from which answers of asynchronous commands are read.
    OBJECT_DEVX_ASYNC_CMD_FD = DRIVER + 4, "MLX5_IB_OBJECT_DEVX_ASYNC_CMD_FD";
    /// Files from which events are read.
    OBJECT_DEVX_ASYNC_EVENT_FD = DRIVER + 5, "MLX5_IB_OBJECT_DEVX_ASYNC_EVENT_FD";
    /// VAR pages.
    OBJECT_VAR = DRIVER + 6, "MLX5_IB_OBJECT_VAR";
    /// UAR pages.
    OBJECT_UAR = DRIVER + 8, "MLX5_IB_OBJECT_UAR";

    /// A general command.
    METHOD_DEVX_OTHER = DRIVER, "MLX5_IB_METHOD_DEVX_OTHER";
    /// The number of a vector's EQ.
    METHOD_DEVX_QUERY_EQN = DRIVER + 2, "MLX5_IB_METHOD_DEVX_QUERY_EQN";
    /// A subscription.
    METHOD_DEVX_SUBSCRIBE_EVENT = DRIVER + 3, "MLX5_IB_METHOD_DEVX_SUBSCRIBE_EVENT";
    /// The command.
    ATTR_DEVX_OTHER_CMD_IN = DRIVER, "MLX5_IB_ATTR_DEVX_OTHER_CMD_IN";
    /// Its output.
    ATTR_DEVX_OTHER_CMD_OUT = DRIVER + 1, "MLX5_IB_ATTR_DEVX_OTHER_CMD_OUT";
    /// The vector.
    ATTR_DEVX_QUERY_EQN_USER_VEC = DRIVER, "MLX5_IB_ATTR_DEVX_QUERY_EQN_USER_VEC";
    /// The EQ's number.
    ATTR_DEVX_QUERY_EQN_DEV_EQN = DRIVER + 1, "MLX5_IB_ATTR_DEVX_QUERY_EQN_DEV_EQN";
    /// The event file.
    ATTR_DEVX_SUBSCRIBE_EVENT_FD_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_SUBSCRIBE_EVENT_FD_HANDLE";
    /// The object.
    ATTR_DEVX_SUBSCRIBE_EVENT_OBJ_HANDLE = DRIVER + 1, "MLX5_IB_ATTR_DEVX_SUBSCRIBE_EVENT_OBJ_HANDLE";
    /// The event types, 16 bits each.
    ATTR_DEVX_SUBSCRIBE_EVENT_TYPE_NUM_LIST = DRIVER + 2, "MLX5_IB_ATTR_DEVX_SUBSCRIBE_EVENT_TYPE_NUM_LIST";
    /// What comes with the event.
    ATTR_DEVX_SUBSCRIBE_EVENT_COOKIE = DRIVER + 4, "MLX5_IB_ATTR_DEVX_SUBSCRIBE_EVENT_COOKIE";

    /// Creates an object.
    METHOD_DEVX_OBJ_CREATE = DRIVER, "MLX5_IB_METHOD_DEVX_OBJ_CREATE";
    /// Destroys it.
    METHOD_DEVX_OBJ_DESTROY = DRIVER + 1, "MLX5_IB_METHOD_DEVX_OBJ_DESTROY";
    /// Modifies it.
    METHOD_DEVX_OBJ_MODIFY = DRIVER + 2, "MLX5_IB_METHOD_DEVX_OBJ_MODIFY";
    /// Queries it.
    METHOD_DEVX_OBJ_QUERY = DRIVER + 3, "MLX5_IB_METHOD_DEVX_OBJ_QUERY";
    /// Queries it without waiting for the answer.
    METHOD_DEVX_OBJ_ASYNC_QUERY = DRIVER + 4, "MLX5_IB_METHOD_DEVX_OBJ_ASYNC_QUERY";
    /// The object's handle, which the kernel gives.
    ATTR_DEVX_OBJ_CREATE_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_OBJ_CREATE_HANDLE";
    /// The command.
    ATTR_DEVX_OBJ_CREATE_CMD_IN = DRIVER + 1, "MLX5_IB_ATTR_DEVX_OBJ_CREATE_CMD_IN";
    /// Its output.
    ATTR_DEVX_OBJ_CREATE_CMD_OUT = DRIVER + 2, "MLX5_IB_ATTR_DEVX_OBJ_CREATE_CMD_OUT";
    /// The object.
    ATTR_DEVX_OBJ_DESTROY_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_OBJ_DESTROY_HANDLE";
    /// The object.
    ATTR_DEVX_OBJ_MODIFY_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_OBJ_MODIFY_HANDLE";
    /// The command.
    ATTR_DEVX_OBJ_MODIFY_CMD_IN = DRIVER + 1, "MLX5_IB_ATTR_DEVX_OBJ_MODIFY_CMD_IN";
    /// Its output.
    ATTR_DEVX_OBJ_MODIFY_CMD_OUT = DRIVER + 2, "MLX5_IB_ATTR_DEVX_OBJ_MODIFY_CMD_OUT";
    /// The object.
    ATTR_DEVX_OBJ_QUERY_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_HANDLE";
    /// The command.
    ATTR_DEVX_OBJ_QUERY_CMD_IN = DRIVER + 1, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_CMD_IN";
    /// Its output.
    ATTR_DEVX_OBJ_QUERY_CMD_OUT = DRIVER + 2, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_CMD_OUT";
    /// The object.
    ATTR_DEVX_OBJ_QUERY_ASYNC_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_ASYNC_HANDLE";
    /// The command.
    ATTR_DEVX_OBJ_QUERY_ASYNC_CMD_IN = DRIVER + 1, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_ASYNC_CMD_IN";
    /// The file from which the answer is read.
    ATTR_DEVX_OBJ_QUERY_ASYNC_FD = DRIVER + 2, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_ASYNC_FD";
    /// What comes with the answer.
    ATTR_DEVX_OBJ_QUERY_ASYNC_WR_ID = DRIVER + 3, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_ASYNC_WR_ID";
    /// How long the answer is.
    ATTR_DEVX_OBJ_QUERY_ASYNC_OUT_LEN = DRIVER + 4, "MLX5_IB_ATTR_DEVX_OBJ_QUERY_ASYNC_OUT_LEN";

    /// Registers memory.
    METHOD_DEVX_UMEM_REG = DRIVER, "MLX5_IB_METHOD_DEVX_UMEM_REG";
    /// Takes it back.
    METHOD_DEVX_UMEM_DEREG = DRIVER + 1, "MLX5_IB_METHOD_DEVX_UMEM_DEREG";
    /// The memory's handle, which the kernel gives.
    ATTR_DEVX_UMEM_REG_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_UMEM_REG_HANDLE";
    /// Where it is.
    ATTR_DEVX_UMEM_REG_ADDR = DRIVER + 1, "MLX5_IB_ATTR_DEVX_UMEM_REG_ADDR";
    /// How long it is.
    ATTR_DEVX_UMEM_REG_LEN = DRIVER + 2, "MLX5_IB_ATTR_DEVX_UMEM_REG_LEN";
    /// What the device may do with it.
    ATTR_DEVX_UMEM_REG_ACCESS = DRIVER + 3, "MLX5_IB_ATTR_DEVX_UMEM_REG_ACCESS";
    /// Its number in commands.
    ATTR_DEVX_UMEM_REG_OUT_ID = DRIVER + 4, "MLX5_IB_ATTR_DEVX_UMEM_REG_OUT_ID";
    /// The memory.
    ATTR_DEVX_UMEM_DEREG_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_UMEM_DEREG_HANDLE";

    /// Makes a file for answers.
    METHOD_DEVX_ASYNC_CMD_FD_ALLOC = DRIVER, "MLX5_IB_METHOD_DEVX_ASYNC_CMD_FD_ALLOC";
    /// The file, which the kernel gives.
    ATTR_DEVX_ASYNC_CMD_FD_ALLOC_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_ASYNC_CMD_FD_ALLOC_HANDLE";
    /// Makes a file for events.
    METHOD_DEVX_ASYNC_EVENT_FD_ALLOC = DRIVER, "MLX5_IB_METHOD_DEVX_ASYNC_EVENT_FD_ALLOC";
    /// The file, which the kernel gives.
    ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_HANDLE = DRIVER, "MLX5_IB_ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_HANDLE";
    /// In which form events come.
    ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_FLAGS = DRIVER + 1, "MLX5_IB_ATTR_DEVX_ASYNC_EVENT_FD_ALLOC_FLAGS";

    /// Allocates a VAR.
    METHOD_VAR_OBJ_ALLOC = DRIVER, "MLX5_IB_METHOD_VAR_OBJ_ALLOC";
    /// Gives it back.
    METHOD_VAR_OBJ_DESTROY = DRIVER + 1, "MLX5_IB_METHOD_VAR_OBJ_DESTROY";
    /// Its handle, which the kernel gives.
    ATTR_VAR_OBJ_ALLOC_HANDLE = DRIVER, "MLX5_IB_ATTR_VAR_OBJ_ALLOC_HANDLE";
    /// Where it's mapped from.
    ATTR_VAR_OBJ_ALLOC_MMAP_OFFSET = DRIVER + 1, "MLX5_IB_ATTR_VAR_OBJ_ALLOC_MMAP_OFFSET";
    /// How many bytes are mapped.
    ATTR_VAR_OBJ_ALLOC_MMAP_LENGTH = DRIVER + 2, "MLX5_IB_ATTR_VAR_OBJ_ALLOC_MMAP_LENGTH";
    /// Its number in commands.
    ATTR_VAR_OBJ_ALLOC_PAGE_ID = DRIVER + 3, "MLX5_IB_ATTR_VAR_OBJ_ALLOC_PAGE_ID";
    /// Which table it's from.
    ATTR_VAR_OBJ_ALLOC_FLAGS = DRIVER + 4, "MLX5_IB_ATTR_VAR_OBJ_ALLOC_FLAGS";
    /// The VAR.
    ATTR_VAR_OBJ_DESTROY_HANDLE = DRIVER, "MLX5_IB_ATTR_VAR_OBJ_DESTROY_HANDLE";

    /// Allocates a UAR.
    METHOD_UAR_OBJ_ALLOC = DRIVER, "MLX5_IB_METHOD_UAR_OBJ_ALLOC";
    /// Gives it back.
    METHOD_UAR_OBJ_DESTROY = DRIVER + 1, "MLX5_IB_METHOD_UAR_OBJ_DESTROY";
    /// Its handle, which the kernel gives.
    ATTR_UAR_OBJ_ALLOC_HANDLE = DRIVER, "MLX5_IB_ATTR_UAR_OBJ_ALLOC_HANDLE";
    /// How it's mapped.
    ATTR_UAR_OBJ_ALLOC_TYPE = DRIVER + 1, "MLX5_IB_ATTR_UAR_OBJ_ALLOC_TYPE";
    /// Where it's mapped from.
    ATTR_UAR_OBJ_ALLOC_MMAP_OFFSET = DRIVER + 2, "MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_OFFSET";
    /// How many bytes are mapped.
    ATTR_UAR_OBJ_ALLOC_MMAP_LENGTH = DRIVER + 3, "MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_LENGTH";
    /// Its number in commands.
    ATTR_UAR_OBJ_ALLOC_PAGE_ID = DRIVER + 4, "MLX5_IB_ATTR_UAR_OBJ_ALLOC_PAGE_ID";
    /// The UAR.
    ATTR_UAR_OBJ_DESTROY_HANDLE = DRIVER, "MLX5_IB_ATTR_UAR_OBJ_DESTROY_HANDLE";
}

numbers! {
    /// The method of the TLP series as posted, which no released kernel has: no header has these.
    POSTED;
    /// Asks for what there is to know of a VAR.
    METHOD_VAR_OBJ_QUERY = DRIVER + 2, "MLX5_IB_METHOD_VAR_OBJ_QUERY";
    /// The VAR.
    ATTR_VAR_OBJ_QUERY_HANDLE = DRIVER, "MLX5_IB_ATTR_VAR_OBJ_QUERY_HANDLE";
    /// Its number in commands.
    ATTR_VAR_OBJ_QUERY_PAGE_ID = DRIVER + 1, "MLX5_IB_ATTR_VAR_OBJ_QUERY_PAGE_ID";
    /// Where it's mapped from.
    ATTR_VAR_OBJ_QUERY_MMAP_OFFSET = DRIVER + 2, "MLX5_IB_ATTR_VAR_OBJ_QUERY_MMAP_OFFSET";
    /// How many bytes are mapped.
    ATTR_VAR_OBJ_QUERY_MMAP_LENGTH = DRIVER + 3, "MLX5_IB_ATTR_VAR_OBJ_QUERY_MMAP_LENGTH";
}
